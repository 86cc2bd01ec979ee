package asyncengine.pipes;

import java.util.HashMap;
import java.util.Map;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.apache.camel.Exchange;
import org.apache.camel.builder.RouteBuilder;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/** A scripted engine, and applications before it. */
abstract class ComponentContract {

    StubEngine engine;

    @BeforeEach
    void startEngine() throws Exception {
        engine = new StubEngine();
    }

    @AfterEach
    void stopEngine() {
        engine.close();
    }

    static Stream<Form> forms() {
        return Form.present();
    }

    Application application(Form form, RouteBuilder routes, String... properties) throws Exception {
        Map<String, String> all = new HashMap<>(Map.of(
                "asyncengine.url", engine.url(),
                "asyncengine.username", "clerk",
                "asyncengine.password", "secret",
                "asyncengine.retryDelay", "10"));
        for (int i = 0; i < properties.length; i += 2) {
            all.put(properties[i], properties[i + 1]);
        }
        return new Application(form::addTo, all, routes == null ? new RouteBuilder[0] : new RouteBuilder[] {routes});
    }

    static RouteBuilder routes(Consumer<RouteBuilder> configure) {
        return new RouteBuilder() {
            @Override
            public void configure() {
                configure.accept(this);
            }
        };
    }

    /** A route that calls the contract's routes for the flow "f". */
    static Exchange call(Application application, Object body) {
        return application.call("f", body);
    }
}
