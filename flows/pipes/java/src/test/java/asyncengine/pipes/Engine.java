package asyncengine.pipes;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.Reader;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.Properties;

/**
 * The running engine, as its operator sees it. The file engine.properties in the directory of the
 * system property {@code engine.directory} says where it is.
 */
final class Engine {

    static final String CORRELATION_ID = "CamelAsyncEngineCorrelationId";
    static final Path DIRECTORY = Path.of(System.getProperty("engine.directory", "."));

    private static final Properties PROPERTIES = properties();

    static final String URL = property("engine.url");

    private static final ObjectMapper JSON = new ObjectMapper();
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    private Engine() {}

    static String property(String name) {
        return PROPERTIES.getProperty(name);
    }

    private static Properties properties() {
        Properties properties = new Properties();
        try (Reader file = Files.newBufferedReader(DIRECTORY.resolve("engine.properties"))) {
            properties.load(file);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        return properties;
    }

    static JsonNode run(String correlationId) throws Exception {
        return json(send("GET", "/runs/" + correlationId + "?wait=10", operator()));
    }

    static int runs(String flowName) throws Exception {
        String name = URLEncoder.encode(flowName, StandardCharsets.UTF_8);
        return json(send("GET", "/runs?flowName=" + name, operator())).get("results").size();
    }

    static void pause(String queue) throws Exception {
        json(send("POST", "/queues/" + queue + "/pause", operator()));
    }

    static String token() throws Exception {
        return json(send("POST", "/auth/token", operator())).get("accessToken").asText();
    }

    static void revoke(String authorization) throws Exception {
        HttpResponse<String> answer = send("DELETE", "/auth/token", authorization);
        if (answer.statusCode() != 204) {
            throw new IOException(answer.statusCode() + " " + answer.body());
        }
    }

    static JsonNode read(String json) throws IOException {
        return JSON.readTree(json);
    }

    private static String operator() {
        String pair = "admin:" + property("engine.password");
        return "Basic " + Base64.getEncoder().encodeToString(pair.getBytes(StandardCharsets.UTF_8));
    }

    private static HttpResponse<String> send(String method, String path, String authorization)
            throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(URL + "/async/api" + path))
                .header("Authorization", authorization)
                .method(method, BodyPublishers.noBody())
                .build();
        return HTTP.send(request, BodyHandlers.ofString());
    }

    private static JsonNode json(HttpResponse<String> answer) throws IOException {
        if (answer.statusCode() >= 300) {
            throw new IOException(answer.statusCode() + " " + answer.body());
        }
        return read(answer.body());
    }
}
