// Connects, sends one line and prints as JSON what it saw.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;

public class Client {
    public static void main(String[] args) throws Exception {
        int colon = args[0].lastIndexOf(':');
        String host = args[0].substring(0, colon);
        int port = Integer.parseInt(args[0].substring(colon + 1));
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress(InetAddress.getByName(host), port));
            socket.getOutputStream().write("from java\n".getBytes());
            BufferedReader in = new BufferedReader(new InputStreamReader(socket.getInputStream()));
            String answer = in.readLine();
            InetSocketAddress peer = (InetSocketAddress) socket.getRemoteSocketAddress();
            System.out.println("{\"getpeername\": \"" + peer.getAddress().getHostAddress() + ":" + peer.getPort()
                    + "\", \"answer\": " + answer + "}");
        }
    }
}
