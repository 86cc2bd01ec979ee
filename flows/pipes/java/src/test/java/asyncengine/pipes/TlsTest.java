package asyncengine.pipes;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsServer;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.util.List;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import org.apache.camel.Exchange;
import org.apache.camel.support.jsse.KeyStoreParameters;
import org.apache.camel.support.jsse.SSLContextParameters;
import org.apache.camel.support.jsse.TrustManagersParameters;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TlsTest extends ComponentContract {

    private static Path certificate(Path folder) throws Exception {
        Path store = folder.resolve("keys.p12");
        List<String> command = List.of(Path.of(System.getProperty("java.home"), "bin", "keytool").toString(),
                "-genkeypair", "-alias", "engine", "-keyalg", "EC", "-dname", "CN=localhost",
                "-ext", "san=dns:localhost,ip:127.0.0.1", "-storetype", "PKCS12", "-storepass", "secret",
                "-keystore", store.toString());
        assertEquals(0, new ProcessBuilder(command).inheritIO().start().waitFor());
        return store;
    }

    private static HttpsServer server(Path store) throws Exception {
        KeyStore keys = KeyStore.getInstance("PKCS12");
        try (InputStream file = Files.newInputStream(store)) {
            keys.load(file, "secret".toCharArray());
        }
        KeyManagerFactory managers = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        managers.init(keys, "secret".toCharArray());
        SSLContext tls = SSLContext.getInstance("TLS");
        tls.init(managers.getKeyManagers(), null, null);
        HttpsServer server = HttpsServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.setHttpsConfigurator(new HttpsConfigurator(tls));
        server.createContext("/", exchange -> {
            byte[] answer = "{\"correlationId\":\"019a\"}".getBytes();
            exchange.sendResponseHeaders(202, answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        server.start();
        return server;
    }

    @Test
    void aCertificateThatIsNotTrustedFailsAtOnceAndOneThatIsTrustedServes(@TempDir Path folder) throws Exception {
        Path store = certificate(folder);
        HttpsServer server = server(store);
        String url = "https://localhost:" + server.getAddress().getPort();
        KeyStoreParameters trusted = new KeyStoreParameters();
        trusted.setResource("file:" + store);
        trusted.setPassword("secret");
        TrustManagersParameters managers = new TrustManagersParameters();
        managers.setKeyStore(trusted);
        SSLContextParameters tls = new SSLContextParameters();
        tls.setTrustManagers(managers);
        var routes = routes(route -> {
            route.getContext().getRegistry().bind("tls", tls);
            route.from("direct:trusting").to("asyncengine:f?sslContextParameters=#tls");
        });
        try (Application application = application(Form.JAVA, routes, "asyncengine.url", url)) {
            Exchange refused = call(application, "{}");
            Exchange served = application.send("direct:trusting", exchange -> exchange.getMessage().setBody("{}"));

            AsyncEngineException error = assertInstanceOf(AsyncEngineException.class, refused.getException());
            // Not the error of a time limit, which is what is left after retries.
            assertInstanceOf(IOException.class, error.getCause());
            assertTrue(error.getMessage().contains(url), error.getMessage());
            assertNull(served.getException());
        } finally {
            server.stop(0);
        }
    }
}
