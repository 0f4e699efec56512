package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

type client struct {
	http     *http.Client
	to       string
	bytes    int64
	requests int
	opened   int64
}

type facts = map[string]any

var cases = map[string]func(*client) (facts, error){
	"keep-alive":  keepAlive,
	"concurrent":  concurrent,
	"upload":      func(c *client) (facts, error) { return c.send(true) },
	"chunked":     func(c *client) (facts, error) { return c.send(false) },
	"download":    func(c *client) (facts, error) { return c.receive("") },
	"trailers":    func(c *client) (facts, error) { return c.receive("&chunked=1") },
	"head":        head,
	"continue":    goOn,
	"refused":     refused,
	"early-hints": earlyHints,
	"headers":     largeHeaders,
	"events":      oneByOne,
	"pieces":      pieces,
	"messages":    exchange,
	"upgrade":     otherProtocol,
}

func ask(args []string) {
	flags := flag.NewFlagSet("ask", flag.ExitOnError)
	to := flags.String("to", "", "scheme, host and port")
	bytes := flags.Int64("bytes", 1<<20, "of each large body")
	requests := flags.Int("requests", 100, "of each case that makes many")
	ca := flags.String("ca", "", "authorities of the server")
	cert := flags.String("cert", "", "own certificate")
	key := flags.String("key", "", "its key")
	name := flags.String("name", "", "server name")
	at := flags.String("at", "", "address and port in place of those of the URL")
	h2 := flags.Bool("h2", false, "HTTP/2 and nothing else")
	flags.Parse(args)
	config := &tls.Config{ServerName: *name}
	if *ca != "" {
		pem, err := os.ReadFile(*ca)
		must(err)
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(pem)
	}
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		must(err)
		config.Certificates = []tls.Certificate{pair}
	}
	failed := false
	for _, name := range flags.Args() {
		dial := func(ctx context.Context, network, address string) (net.Conn, error) {
			if *at != "" {
				address = *at
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
		c := &client{to: *to, bytes: *bytes, requests: *requests}
		c.http = &http.Client{
			Timeout: 30 * time.Second,
			Transport: &http.Transport{
				DialContext:            dial,
				TLSClientConfig:        config,
				ForceAttemptHTTP2:      *h2,
				MaxIdleConnsPerHost:    100,
				ExpectContinueTimeout:  20 * time.Second,
				MaxResponseHeaderBytes: 4 << 20,
				DisableCompression:     true,
			},
		}
		found, err := facts(nil), fmt.Errorf("there is no such case")
		if run := cases[name]; run != nil {
			found, err = run(c)
		}
		if found == nil {
			found = facts{}
		}
		found["case"] = name
		found["connections"] = atomic.LoadInt64(&c.opened)
		if err != nil {
			found["error"] = err.Error()
			failed = true
		}
		json.NewEncoder(os.Stdout).Encode(found)
		c.http.CloseIdleConnections()
	}
	if failed {
		os.Exit(1)
	}
}

func (c *client) request(method, target string, body io.Reader) *http.Request {
	return c.traced(&httptrace.ClientTrace{}, method, target, body)
}

func (c *client) traced(trace *httptrace.ClientTrace, method, target string, body io.Reader) *http.Request {
	trace.GotConn = func(info httptrace.GotConnInfo) {
		if !info.Reused {
			atomic.AddInt64(&c.opened, 1)
		}
	}
	made, err := http.NewRequestWithContext(
		httptrace.WithClientTrace(context.Background(), trace), method, c.to+target, body)
	must(err)
	return made
}

// What the server says of a request that it has read to its end.
func (c *client) told(request *http.Request) (facts, error) {
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	said := facts{}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", answer.Status)
	}
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil {
		return nil, err
	}
	// The end of the body too, or the connection is not used again.
	if _, err = io.Copy(io.Discard, answer.Body); err != nil {
		return nil, err
	}
	if said["wrong"] != "" {
		return said, fmt.Errorf("the server got %v", said["wrong"])
	}
	said["answered"] = answer.Proto
	return said, nil
}

func (c *client) text(method, target string) (string, error) {
	answer, err := c.http.Do(c.request(method, target, nil))
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}

func equal(what string, got, wanted any) error {
	if got, wanted := fmt.Sprint(got), fmt.Sprint(wanted); got != wanted {
		return fmt.Errorf("%s is %s and not %s", what, got, wanted)
	}
	return nil
}

func first(errors ...error) error {
	for _, err := range errors {
		if err != nil {
			return err
		}
	}
	return nil
}

func keepAlive(c *client) (facts, error) {
	for at := 0; at < c.requests; at++ {
		marker := strconv.Itoa(at)
		request := c.request("GET", "/", nil)
		request.Header.Set("X-Marker", marker)
		said, err := c.told(request)
		if err = first(err, equal("the marker", said["marker"], marker)); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// Requests of all sizes on many connections, or many streams, at once.
func concurrent(c *client) (facts, error) {
	const workers = 32
	var group sync.WaitGroup
	turns := make(chan int, c.requests)
	for at := 0; at < c.requests; at++ {
		turns <- at
	}
	close(turns)
	errors := make(chan error, c.requests)
	for worker := 0; worker < workers; worker++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for at := range turns {
				size := int64(at) * 7919 % 200_000
				marker := fmt.Sprintf("%d of %d", at, size)
				request := c.request("POST", "/", io.LimitReader(&pattern{}, size))
				request.Header.Set("X-Marker", marker)
				said, err := c.told(request)
				errors <- first(err, equal("the marker", said["marker"], marker),
					equal("what came", said["received"], float64(size)))
			}
		}()
	}
	group.Wait()
	close(errors)
	for err := range errors {
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// One large body, by its length or in chunks with a trailer.
func (c *client) send(length bool) (facts, error) {
	body := io.LimitReader(&pattern{}, c.bytes)
	request := c.request("POST", "/", struct{ io.Reader }{body})
	if length {
		request.ContentLength = c.bytes
	} else {
		request.Trailer = http.Header{"X-Trailer": {"at the end"}}
	}
	said, err := c.told(request)
	if err != nil {
		return said, err
	}
	if length {
		return said, first(equal("what came", int64(said["received"].(float64)), c.bytes),
			equal("the length", int64(said["length"].(float64)), c.bytes))
	}
	return said, first(equal("what came", int64(said["received"].(float64)), c.bytes),
		equal("the trailer", said["trailer"], "at the end"))
}

func (c *client) receive(how string) (facts, error) {
	request := c.request("GET", fmt.Sprintf("/bytes?n=%d%s", c.bytes, how), nil)
	if how != "" {
		// Without it a proxy need not pass them on (RFC 9110, section 6.5.1).
		request.Header.Set("Te", "trailers")
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	count, err := verify(answer.Body)
	if how != "" {
		err = first(err, equal("the trailer", answer.Trailer.Get("X-Count"), c.bytes))
	} else {
		err = first(err, equal("the length", answer.ContentLength, c.bytes))
	}
	return nil, first(err, equal("what came", count, c.bytes))
}

// The length of what a GET would give, no body, and the connection is good for the next request.
func head(c *client) (facts, error) {
	answer, err := c.http.Do(c.request("HEAD", "/bytes?n=12345", nil))
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	said, again := c.told(c.request("GET", "/", nil))
	return said, first(err, equal("the length", answer.ContentLength, 12345),
		equal("the body", len(body), 0), again, equal("connections", c.opened, 1))
}

// The body is sent when the server has said so.
func goOn(c *client) (facts, error) {
	continued := false
	trace := &httptrace.ClientTrace{Got100Continue: func() { continued = true }}
	request := c.traced(trace, "POST", "/", io.LimitReader(&pattern{}, 100_000))
	request.Header.Set("Expect", "100-continue")
	said, err := c.told(request)
	return said, first(err, equal("100 came", continued, true),
		equal("what came", said["received"], float64(100_000)))
}

// A server that wants no body; whoever stands between may have taken some of it.
func refused(c *client) (facts, error) {
	body := &counted{from: &pattern{}}
	request := c.request("POST", "/refuse", io.LimitReader(body, c.bytes))
	request.ContentLength = c.bytes
	request.Header.Set("Expect", "100-continue")
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	answer.Body.Close()
	sent := facts{"sent": atomic.LoadInt64(&body.count)}
	return sent, equal("the status", answer.StatusCode, http.StatusRequestEntityTooLarge)
}

type counted struct {
	from  io.Reader
	count int64
}

func (c *counted) Read(into []byte) (int, error) {
	got, err := c.from.Read(into)
	atomic.AddInt64(&c.count, int64(got))
	return got, err
}

func earlyHints(c *client) (facts, error) {
	hints := []string{}
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprintf("%d %s", code, header.Get("Link")))
		return nil
	}}
	answer, err := c.http.Do(c.traced(trace, "GET", "/early", nil))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return facts{"hints": hints}, first(err, equal("the body", string(text), "late"))
}

func largeHeaders(c *client) (facts, error) {
	size := 12_000
	request := c.request("GET", "/", nil)
	request.Header.Set("X-Large", strings.Repeat("h", size))
	said, err := c.told(request)
	if err != nil {
		return nil, err
	}
	if said["head"].(float64) < float64(size) {
		return said, fmt.Errorf("the server saw a head of %v", said["head"])
	}
	answer, err := c.http.Do(c.request("GET", fmt.Sprintf("/headers?n=%d", size), nil))
	if err != nil {
		return nil, err
	}
	answer.Body.Close()
	return said, equal("the header", len(answer.Header.Get("X-Large")), size)
}

// Each event is asked for when the one before has arrived.
func oneByOne(c *client) (facts, error) {
	const count = 20
	id := c.id()
	answer, err := c.http.Do(c.request("GET", fmt.Sprintf("/events?n=%d&id=%s", count, id), nil))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for event := 0; event < count; event++ {
		if event > 0 {
			if _, err := c.text("POST", "/next?id="+id); err != nil {
				return nil, err
			}
		}
		lines.Scan()
		wanted := fmt.Sprintf("data: %d", event)
		if err := first(lines.Err(), equal("the event", lines.Text(), wanted)); err != nil {
			return nil, err
		}
		lines.Scan()
	}
	return facts{"type": answer.Header.Get("Content-Type")}, nil
}

// Each piece of a body is sent when the server has the one before.
func pieces(c *client) (facts, error) {
	id := c.id()
	from, into := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		defer into.Close()
		for count := 1; count <= 20; count++ {
			into.Write([]byte("a piece of it"))
			for {
				got, err := c.text("GET", "/progress?id="+id)
				if err != nil {
					sent <- err
					return
				}
				if got == strconv.Itoa(count*13) {
					break
				}
			}
		}
		sent <- nil
	}()
	answer, err := c.http.Do(c.request("POST", "/upload?id="+id, from))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return nil, first(err, <-sent, equal("what came", string(text), 20*13))
}

func (c *client) id() string {
	return strconv.FormatInt(time.Now().UnixNano(), 36)
}

// A call of gRPC's kind in both directions at once; HTTP/2 only.
func exchange(c *client) (facts, error) {
	from, into := io.Pipe()
	request := c.request("POST", "/messages", from)
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("Te", "trailers")
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	for at := 0; at < 20; at++ {
		message := strings.Repeat("m", at*1000)
		if _, err := into.Write(frameMessage([]byte(message))); err != nil {
			return nil, err
		}
		back, err := readMessage(answer.Body)
		if err = first(err, equal("the message", string(back), message)); err != nil {
			return nil, err
		}
	}
	into.Close()
	rest, err := io.ReadAll(answer.Body)
	return facts{"answered": answer.Proto}, first(err, equal("the rest", len(rest), 0),
		equal("the status", answer.Trailer.Get("Grpc-Status"), "0"),
		equal("the message", answer.Trailer.Get("Grpc-Message"), "te=trailers"))
}

func otherProtocol(c *client) (facts, error) {
	request := c.request("GET", "/upgrade", nil)
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", "lines")
	// Without the client's timeout around it, whose body cannot be written to.
	answer, err := c.http.Transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if err := equal("the status", answer.StatusCode, 101); err != nil {
		return nil, err
	}
	stream := answer.Body.(io.ReadWriteCloser)
	lines := bufio.NewReader(stream)
	for at := 0; at < 20; at++ {
		fmt.Fprintf(stream, "line %d\n", at)
		line, err := lines.ReadString('\n')
		if err = first(err, equal("the line", line, fmt.Sprintf("back: line %d\n", at))); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
