// SPDX-License-Identifier: MIT
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Executors;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * A service that works before it listens, as services in Java do: it walks the classes of the runtime, indexes their
 * names by word, and loads some hundreds of them. /find?word=socket answers from the index, /who tells who answers
 * whom, ?sleep=MS late.
 */
public final class Garden {
    private static final int LOADED_MAX = 800;
    private static final Pattern WORD = Pattern.compile("[A-Z]+(?![a-z])|[A-Z][a-z]+|[a-z]+|[0-9]+");

    private final Map<String, List<String>> index = new TreeMap<>();
    private final String host;
    private int classes;
    private int loaded;

    private Garden() throws IOException {
        host = Files.readString(Path.of("/proc/sys/kernel/hostname")).strip();
        var root = FileSystems.getFileSystem(URI.create("jrt:/")).getPath("/modules/java.base");
        try (Stream<Path> files = Files.walk(root)) {
            files.filter(file -> file.toString().endsWith(".class")).forEach(file -> add(root.relativize(file)));
        }
    }

    private void add(Path file) {
        String name = file.toString().replace(".class", "").replace('/', '.');
        classes++;
        for (Matcher word = WORD.matcher(name.substring(name.lastIndexOf('.') + 1)); word.find();) {
            index.computeIfAbsent(word.group().toLowerCase(Locale.ROOT), key -> new ArrayList<>()).add(name);
        }
        if (name.startsWith("java.") && name.indexOf('$') < 0 && loaded < LOADED_MAX) {
            load(name);
        }
    }

    private void load(String name) {
        try {
            Class.forName(name, false, Garden.class.getClassLoader()).getDeclaredMethods();
            loaded++;
        } catch (ClassNotFoundException | LinkageError e) {
            // some are only for other systems
        }
    }

    private static Map<String, String> query(HttpExchange exchange) {
        var values = new HashMap<String, String>();
        String text = exchange.getRequestURI().getQuery();
        for (String part : text == null ? new String[0] : text.split("&")) {
            String[] pair = part.split("=", 2);
            values.put(pair[0], pair.length > 1 ? pair[1] : "");
        }
        return values;
    }

    private static void answer(HttpExchange exchange, String text) throws IOException {
        byte[] body = text.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", "text/plain");
        exchange.sendResponseHeaders(200, body.length);
        try (var out = exchange.getResponseBody()) {
            out.write(body);
        }
    }

    private void who(HttpExchange exchange) throws IOException {
        InetAddress client = exchange.getRemoteAddress().getAddress();
        try {
            Thread.sleep(Math.min(60000, Long.parseLong(query(exchange).getOrDefault("sleep", "0"))));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        answer(exchange, String.format("request: %s %s%nclient: %s:%d%nhost: %s%npid: %d%nclasses: %d%nloaded: %d%n",
                exchange.getRequestMethod(), exchange.getRequestURI(), client.getHostAddress(),
                exchange.getRemoteAddress().getPort(), host, ProcessHandle.current().pid(), classes, loaded));
    }

    private void find(HttpExchange exchange) throws IOException {
        List<String> found = index.getOrDefault(query(exchange).getOrDefault("word", ""), List.of());
        answer(exchange, String.join("\n", found) + "\n");
    }

    public static void main(String[] args) throws IOException {
        var garden = new Garden();
        var server = HttpServer.create(new InetSocketAddress(Integer.parseInt(args[0])), 4096);
        server.createContext("/", garden::who);
        server.createContext("/find", garden::find);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.start();
    }
}
