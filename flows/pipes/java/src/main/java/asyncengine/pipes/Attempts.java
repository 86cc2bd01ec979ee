package asyncengine.pipes;

import java.io.IOException;
import java.net.http.HttpRequest;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Future;
import java.util.concurrent.ThreadLocalRandom;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Asks the engine until it has what was asked for, in vain, or out of time. One thread at a time is in
 * here, and none while something is waited for.
 */
abstract class Attempts implements Work.Waiting {

    /** What comes after an answer. */
    enum Decision {
        DONE,
        NOT_YET,
        WRONG
    }

    private static final Logger LOG = LoggerFactory.getLogger(AsyncEngineComponent.class);
    private static final Duration LONGEST_BACKOFF = Duration.ofSeconds(30);
    /** The last try comes at most so long before the time is over. */
    private static final Duration LAST_TRY = Duration.ofSeconds(2);

    final EngineClient engine;
    private final String action;
    private final Lane lane;
    private final Duration within;
    private volatile long end;
    private final CompletableFuture<Answer> done = new CompletableFuture<>();
    private volatile Exception last;
    private volatile boolean underWay;
    private volatile boolean stopped;
    private volatile Future<?> limit;
    private volatile boolean hadTurn;
    private volatile boolean doubtful;
    private int tries;
    private int counted;

    Attempts(EngineClient engine, Lane lane, String action, Duration within) {
        this.engine = engine;
        this.lane = lane;
        this.action = action;
        this.within = within;
        this.end = System.nanoTime() + within.toNanos();
    }

    /** Makes the next request. */
    abstract HttpRequest.Builder request();

    /** How long the next request may take. */
    abstract Duration requestTimeout();

    /** Decides on a 2xx. */
    abstract Decision decide(Answer answer);

    /** What a 2xx is that is wrong. */
    abstract AsyncEngineException wrong(Answer answer);

    /** The failure where the time is over; {@code last} may be null. */
    abstract Exception outOfTime(Exception last);

    /** How often a request is tried again; -1 for as long as there is time. */
    abstract int retries();

    /** How long a request that is under way may go on when the context stops. */
    abstract Duration graceAtStop();

    /** Whether the time begins with the first request, while others get through before it. */
    boolean isPatient() {
        return true;
    }

    /** Whether a request that failed may be sent again. */
    boolean isRepeatable() {
        return true;
    }

    /** Whether the body of the request, which may have been sent, can be sent from its beginning. */
    boolean comesAgain() {
        return true;
    }

    /** Begins. The future fails with the exception for the exchange. */
    CompletableFuture<Answer> begin() {
        limit = engine.work().later(within, this::timeOver);
        done.whenComplete((answer, error) -> {
            limit.cancel(false);
            engine.work().remove(this);
        });
        engine.work().add(this);
        ask();
        return done;
    }

    private void timeOver() {
        long left = within.toNanos() - lane.nanosSinceGood();
        if (isPatient() && !hadTurn && left > 0) {
            end = System.nanoTime() + left;
            limit = engine.work().later(Duration.ofNanos(left), this::timeOver);
        } else {
            fail(outOfTime(last));
        }
    }

    /** Begins the time limit anew where the first request had to wait for its turn. */
    private void firstTurn() {
        hadTurn = true;
        if (isPatient()) {
            limit.cancel(false);
            end = System.nanoTime() + within.toNanos();
            limit = engine.work().later(within, this::timeOver);
        }
    }

    @Override
    public void stop() {
        stopped = true;
        if (!underWay || graceAtStop().isZero()) {
            fail(stopping());
        } else {
            engine.work().later(graceAtStop(), () -> fail(stopping()));
        }
    }

    @Override
    public void abort() {
        fail(stopping());
    }

    /** What was not reached, for messages. {@code isDoubtful} tells whether it may have been, unseen. */
    String action(boolean isDoubtful) {
        return action;
    }

    /** The same, by the answers so far. */
    final String action() {
        return action(doubtful);
    }

    Duration left() {
        return Duration.ofNanos(Math.max(0, end - System.nanoTime()));
    }

    boolean isDone() {
        return done.isDone();
    }

    Exception lastFailure() {
        return last;
    }

    void giveUp(Exception error) {
        fail(error);
    }

    private void fail(Exception error) {
        done.completeExceptionally(error);
    }

    private AsyncEngineException stopping() {
        return new AsyncEngineException(action() + ": the Camel context is being stopped" + because(last), last);
    }

    static String because(Exception last) {
        return last == null ? "" : " (" + last.getMessage() + ")";
    }

    private void ask() {
        if (!done.isDone()) {
            lane.enter(this::send, hadTurn);
        }
    }

    private void send() {
        if (done.isDone()) {
            lane.leave(false);
            return;
        }
        underWay = true;
        try {
            if (!hadTurn) {
                firstTurn();
            }
            engine.sendAuthorized(request(), requestTimeout(), this::comesAgain)
                    .whenCompleteAsync((answer, error) -> {
                        lane.leave(error == null && answer.isGood());
                        answered(answer, error);
                    }, engine.work().pool());
        } catch (RuntimeException error) {
            lane.leave(false);
            fail(error);
        }
    }

    private void answered(Answer answer, Throwable error) {
        underWay = false;
        Throwable cause = error == null ? null : EngineClient.cause(error);
        doubtful = error == null ? answer.leavesDoubt(doubtful) : doubtful || Healing.mayHaveArrived(cause);
        try {
            if (cause instanceof Credentials.NoToken refusal) {
                failed(new AsyncEngineException(action() + ": the engine gave no token", refusal.answer()),
                        refusal.answer(), refusal.answer().isTransient());
            } else if (cause instanceof IOException trouble) {
                String message = action() + ": no answer from " + engine.settings().url() + ": " + trouble;
                failed(new AsyncEngineException(message, trouble), null, Healing.mayHeal(trouble));
            } else if (cause != null) {
                fail(cause instanceof Exception exception ? exception : new IllegalStateException(cause));
            } else if (!answer.isGood()) {
                failed(new AsyncEngineException(action(), answer), answer, answer.isTransient());
            } else {
                good(answer);
            }
        } catch (RuntimeException unexpected) {
            fail(unexpected);
        }
    }

    private void good(Answer answer) {
        switch (decide(answer)) {
            case DONE -> done.complete(answer);
            case WRONG -> fail(wrong(answer));
            default -> {
                tries = 0;
                last = null;
                pause(Duration.ofMillis(100));
            }
        }
    }

    private void failed(AsyncEngineException error, Answer answer, boolean mayHeal) {
        last = error;
        boolean isAsked = answer != null && answer.retryAfter() != null;
        boolean isAllowed = retries() < 0 || (isAsked ? retries() > 0 : counted < retries());
        Duration delay = delay(isAsked ? answer.retryAfter() : null);
        boolean isLong = isAsked && answer.retryAfter().compareTo(engine.settings().maximumRetryAfter()) > 0;
        if (!mayHeal || !isAllowed || isLong || delay == null || !isRepeatable()) {
            fail(error);
            return;
        }
        if (!isAsked) {
            counted++;
        }
        tries++;
        LOG.warn("{}; trying again in {} ms (try {})", error.getMessage(), delay.toMillis(), tries + 1);
        engine.counters().retried(answer == null ? "no-answer" : String.valueOf(answer.status()));
        pause(delay);
    }

    /**
     * Returns what to wait for: what the engine asks for, or a delay that doubles; with as much again by
     * chance, so that callers do not come together. There is a try shortly before the time is over. Null
     * where the engine asks for more time than is left.
     */
    private Duration delay(Duration retryAfter) {
        Duration backoff = backoff();
        Duration least = retryAfter == null ? backoff : retryAfter;
        Duration left = left();
        if (retryAfter != null && least.compareTo(left) >= 0) {
            return null;
        }
        long jitter = ThreadLocalRandom.current().nextLong(backoff.toMillis() + 1);
        Duration most = retryAfter == null ? untilLastTry(left) : left.minus(least).dividedBy(2).plus(least);
        Duration delay = least.plusMillis(jitter);
        return delay.compareTo(most) < 0 ? delay : most;
    }

    private Duration untilLastTry(Duration left) {
        Duration reserve = LAST_TRY.compareTo(within.dividedBy(5)) < 0 ? LAST_TRY : within.dividedBy(5);
        return left.compareTo(reserve) > 0 ? left.minus(reserve) : left;
    }

    /** A delay grows no longer than a twelfth of the whole time: what is back is soon noticed. */
    private Duration backoff() {
        long first = engine.settings().retryDelay().toMillis();
        long longest = Math.max(first, Math.min(within.dividedBy(12).toMillis(), LONGEST_BACKOFF.toMillis()));
        return Duration.ofMillis(Math.min(first << Math.min(tries, 20), longest));
    }

    private void pause(Duration delay) {
        if (stopped) {
            fail(stopping());
            return;
        }
        engine.work().later(delay, () -> {
            try {
                ask();
            } catch (RuntimeException error) {
                fail(error);
            }
        });
    }
}
