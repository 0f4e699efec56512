package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

func serve(args []string) {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	listen := flags.String("listen", "", "address and port")
	cert := flags.String("cert", "", "certificate; without one it serves plain text")
	key := flags.String("key", "", "its key")
	flags.Parse(args)
	http.HandleFunc("/", seen)
	http.HandleFunc("/bytes", bytes)
	http.HandleFunc("/events", events)
	http.HandleFunc("/next", next)
	http.HandleFunc("/upload", upload)
	http.HandleFunc("/progress", progress)
	http.HandleFunc("/messages", messages)
	http.HandleFunc("/early", early)
	http.HandleFunc("/refuse", refuse)
	http.HandleFunc("/headers", headers)
	http.HandleFunc("/upgrade", upgrade)
	listener, err := net.Listen("tcp", *listen)
	must(err)
	fmt.Println(`{"event":"ready"}`)
	server := &http.Server{MaxHeaderBytes: 4 << 20}
	if *cert == "" {
		must(server.Serve(listener))
	}
	must(server.ServeTLS(listener, *cert, *key))
}

func number(r *http.Request, name string) int64 {
	value, _ := strconv.ParseInt(r.URL.Query().Get(name), 10, 64)
	return value
}

// Reads the request to its end and says what it was.
func seen(w http.ResponseWriter, r *http.Request) {
	received, err := verify(r.Body)
	wrong := ""
	if err != nil {
		wrong = err.Error()
	}
	head := 0
	for name, values := range r.Header {
		for _, value := range values {
			head += len(name) + len(value)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{
		"method":   r.Method,
		"target":   r.RequestURI,
		"proto":    r.Proto,
		"host":     r.Host,
		"length":   r.ContentLength,
		"chunked":  strings.Join(r.TransferEncoding, ",") == "chunked",
		"received": received,
		"wrong":    wrong,
		"head":     head,
		"marker":   r.Header.Get("X-Marker"),
		"trailer":  r.Trailer.Get("X-Trailer"),
	})
}

// So many bytes of the pattern, with a length or with trailers.
func bytes(w http.ResponseWriter, r *http.Request) {
	count := number(r, "n")
	if r.URL.Query().Get("chunked") == "" {
		w.Header().Set("Content-Length", strconv.FormatInt(count, 10))
	} else {
		w.Header().Set("Trailer", "X-Count")
		w.(http.Flusher).Flush()
	}
	if r.Method != http.MethodHead {
		io.CopyN(w, &pattern{}, count)
	}
	w.Header().Set("X-Count", strconv.FormatInt(count, 10))
}

// What a client that has seen one event is let have the next one by.
var asked sync.Map

func asking(id string) chan struct{} {
	found, _ := asked.LoadOrStore(id, make(chan struct{}, 1))
	return found.(chan struct{})
}

// Server-sent events, each when the one before has arrived.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	turn := asking(r.URL.Query().Get("id"))
	for event := int64(0); event < number(r, "n"); event++ {
		if event > 0 {
			select {
			case <-turn:
			case <-r.Context().Done():
				return
			}
		}
		fmt.Fprintf(w, "data: %d\n\n", event)
		w.(http.Flusher).Flush()
	}
}

func next(w http.ResponseWriter, r *http.Request) {
	asking(r.URL.Query().Get("id")) <- struct{}{}
}

// How much of each upload has come.
var arrived sync.Map

func uploading(id string) *int64 {
	found, _ := arrived.LoadOrStore(id, new(int64))
	return found.(*int64)
}

func upload(w http.ResponseWriter, r *http.Request) {
	count := uploading(r.URL.Query().Get("id"))
	piece := make([]byte, 4096)
	for {
		got, err := r.Body.Read(piece)
		atomic.AddInt64(count, int64(got))
		if err != nil {
			fmt.Fprint(w, atomic.LoadInt64(count))
			return
		}
	}
}

func progress(w http.ResponseWriter, r *http.Request) {
	fmt.Fprint(w, atomic.LoadInt64(uploading(r.URL.Query().Get("id"))))
}

// Length-prefixed messages as gRPC frames them, each answered before the next one comes; then the
// status in trailers.
func messages(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	status := "0"
	for {
		message, err := readMessage(r.Body)
		if err == io.EOF {
			break
		}
		if err != nil {
			status = "13"
			break
		}
		w.Write(frameMessage(message))
		w.(http.Flusher).Flush()
	}
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", status)
	w.Header().Set(http.TrailerPrefix+"Grpc-Message", "te="+r.Header.Get("Te"))
}

func frameMessage(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

func readMessage(from io.Reader) ([]byte, error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint32(head[1:]))
	_, err := io.ReadFull(from, message)
	return message, err
}

func early(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Link", "</style.css>; rel=preload")
	w.WriteHeader(http.StatusEarlyHints)
	w.Header().Del("Link")
	fmt.Fprint(w, "late")
}

// An answer without a look at the body.
func refuse(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusRequestEntityTooLarge)
}

func headers(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Large", strings.Repeat("h", int(number(r, "n"))))
}

// Another protocol, in which each line comes back.
func upgrade(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "lines" {
		w.WriteHeader(http.StatusUpgradeRequired)
		return
	}
	conn, stream, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n")
	lines := bufio.NewReader(stream)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		io.WriteString(conn, "back: "+line)
	}
}
