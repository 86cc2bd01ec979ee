package asyncengine.pipes;

import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.camel.CamelContext;
import org.apache.camel.builder.ThreadPoolProfileBuilder;
import org.apache.camel.spi.AsyncProcessorAwaitManager;
import org.apache.camel.spi.ThreadPoolProfile;
import org.apache.camel.support.PluginHelper;

/** The threads of a component, and what waits in it. No thread is held while something waits. */
final class Work {

    /** What can be ended from outside. */
    interface Waiting {
        /** The context is being stopped. */
        void stop();

        /** The threads are about to end. */
        void abort();
    }

    /** More than a request may take that is under way. The rest of a route may take longer. */
    private static final Duration LONGEST_HANDING_BACK = Duration.ofSeconds(5);

    private final CamelContext context;
    private final ScheduledExecutorService timer;
    private final ExecutorService pool;
    private final Set<Waiting> waiting = ConcurrentHashMap.newKeySet();
    private final AtomicInteger calls = new AtomicInteger();
    private volatile boolean stopping;

    Work(CamelContext context, Object source) {
        this.context = context;
        // Without a bound too: each call that waits has a time limit here.
        ThreadPoolProfile timers =
                new ThreadPoolProfileBuilder("AsyncEngineTimer").poolSize(1).maxQueueSize(-1).build();
        this.timer = context.getExecutorServiceManager().newScheduledThreadPool(source, "AsyncEngineTimer", timers);
        // Without a bound: a route that goes on here may itself wait for another call.
        this.pool = context.getExecutorServiceManager().newCachedThreadPool(source, "AsyncEngine");
    }

    /** Runs the rest of routes, and the HTTP client. */
    Executor pool() {
        return this::execute;
    }

    private void execute(Runnable task) {
        try {
            pool.execute(task);
        } catch (RejectedExecutionException error) {
            // The context has stopped; a caller must not wait for ever.
            task.run();
        }
    }

    /** Runs a short task later. It is dropped where the context has stopped by then. */
    Future<?> later(Duration delay, Runnable task) {
        return timer.schedule(task, delay.toNanos(), TimeUnit.NANOSECONDS);
    }

    void add(Waiting one) {
        waiting.add(one);
        if (stopping) {
            one.stop();
        }
    }

    void remove(Waiting one) {
        waiting.remove(one);
    }

    boolean isStopping() {
        return stopping;
    }

    /** A call of a route begins. */
    void enter() {
        calls.incrementAndGet();
    }

    /** A call's exchange was handed back to its route. */
    void leave() {
        calls.decrementAndGet();
    }

    /** Ends all waiting, with an error. */
    void stop() {
        stopping = true;
        waiting.forEach(Waiting::stop);
    }

    /**
     * Ends all waiting, and waits until the routes have their exchanges back: of a thread that still waits
     * for one Camel says next that it was rejected, and nothing of the run.
     */
    void stopAndHandBack() {
        boolean hasCalls = hasCalls();
        stop();
        long end = System.nanoTime() + LONGEST_HANDING_BACK.toNanos();
        AsyncProcessorAwaitManager threads = PluginHelper.getAsyncProcessorAwaitManager(context);
        try {
            while (hasCalls && (hasCalls() || threads.size() > 0) && System.nanoTime() < end) {
                Thread.sleep(5);
            }
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    private boolean hasCalls() {
        return calls.get() > 0;
    }

    void close() {
        stop();
        waiting.forEach(Waiting::abort);
        context.getExecutorServiceManager().shutdownNow(timer);
        context.getExecutorServiceManager().shutdown(pool);
    }
}
