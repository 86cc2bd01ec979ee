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
import org.apache.camel.CamelContext;
import org.apache.camel.builder.ThreadPoolProfileBuilder;
import org.apache.camel.spi.ThreadPoolProfile;

/** The threads of a component, and what waits in it. No thread is held while something waits. */
final class Work {

    /** What can be ended from outside. */
    interface Waiting {
        /** The context is being stopped. */
        void stop();

        /** The threads are about to end. */
        void abort();
    }

    private final CamelContext context;
    private final ScheduledExecutorService timer;
    private final ExecutorService pool;
    private final Set<Waiting> waiting = ConcurrentHashMap.newKeySet();
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

    /** Ends all waiting, with an error. */
    void stop() {
        stopping = true;
        waiting.forEach(Waiting::stop);
    }

    void close() {
        stop();
        waiting.forEach(Waiting::abort);
        context.getExecutorServiceManager().shutdownNow(timer);
        context.getExecutorServiceManager().shutdown(pool);
    }
}
