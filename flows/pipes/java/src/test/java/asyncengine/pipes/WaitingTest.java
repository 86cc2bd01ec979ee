package asyncengine.pipes;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import asyncengine.pipes.StubEngine.Fault;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.BooleanSupplier;
import org.apache.camel.Exchange;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What waits holds no thread, and ends with the context. */
class WaitingTest extends ComponentContract {

    private static final Duration BOUND = Duration.ofSeconds(30);
    private static final int WAITERS = 500;

    private static void waitFor(BooleanSupplier condition) {
        assertTimeoutPreemptively(BOUND, () -> {
            while (!condition.getAsBoolean()) {
                Thread.sleep(20);
            }
        });
    }

    @ParameterizedTest
    @MethodSource("forms")
    void aStartGoesThroughBesideFiveHundredWaitersOnEightThreads(Form form) throws Exception {
        CountDownLatch done = new CountDownLatch(WAITERS);
        var routes = routes(route -> {
            route.from("seda:work?concurrentConsumers=8&size=1000").setProperty("flowName", route.constant("f"))
                    .to("direct:callAsyncEngine", "direct:awaitAsyncEngine").process(exchange -> done.countDown());
            route.from("seda:start?concurrentConsumers=1").setProperty("flowName", route.constant("f"))
                    .to("direct:callAsyncEngine");
        });
        engine.runMillis = 3_600_000;
        try (Application application = application(form, routes, "asyncengine.awaitTimeout", "10m")) {
            for (int n = 0; n < WAITERS; n++) {
                application.template().sendBody("seda:work?size=1000", "{\"n\":" + n + "}");
            }
            waitFor(() -> engine.runs.size() == WAITERS && engine.waiting.get() >= 200);

            Exchange started = application.send("seda:start?waitForTaskToComplete=Always", exchange -> exchange.getMessage().setBody("{}"));

            assertNull(started.getException());
            assertNotNull(started.getMessage().getHeader(Engine.CORRELATION_ID));
            assertEquals(WAITERS, done.getCount());
            engine.runMillis = 0;
            assertTrue(done.await(120, TimeUnit.SECONDS));
        }
    }

    @ParameterizedTest
    @MethodSource("forms")
    void theEndOfTheContextEndsAllWaiting(Form form) throws Exception {
        for (String kind : List.of("retry", "answer", "run")) {
            Application application = application(form, null);
            AtomicReference<Exchange> ended = new AtomicReference<>();
            engine.seen.clear();
            engine.runMillis = 3_600_000;
            if (kind.equals("retry")) {
                engine.faults.add(Fault.answer(503, "", "Retry-After", "25"));
            } else if (kind.equals("answer")) {
                engine.faults.add(Fault.silent());
            }
            CompletableFuture<Void> caller = CompletableFuture.runAsync(() -> {
                Exchange called = application.call("f", "{}");
                ended.set(called.getException() == null ? application.awaiting(called) : called);
            }, task -> new Thread(task).start());
            waitFor(() -> kind.equals("run") ? engine.waiting.get() == 1 : engine.seen.size() == 1);

            assertTimeoutPreemptively(BOUND, application::close);
            caller.get(BOUND.toSeconds(), TimeUnit.SECONDS);

            AsyncEngineException error = assertInstanceOf(AsyncEngineException.class, ended.get().getException());
            assertTrue(error.getMessage().contains("the Camel context is being stopped"), kind + ": " + error.getMessage());
        }
    }
}
