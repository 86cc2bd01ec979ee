package asyncengine.pipes;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.Executor;

/**
 * Limits the requests under way. A parallel split hands over all its lines together; the others
 * wait here for their turn, without a thread.
 */
final class Lane {

    private final Executor pool;
    private final Deque<Runnable> queue = new ArrayDeque<>();
    private int free;
    private volatile long lastGood = System.nanoTime();

    Lane(int width, Executor pool) {
        this.free = width;
        this.pool = pool;
    }

    /** Runs a task when it is its turn. A task that was here before goes first. */
    void enter(Runnable task, boolean wasHere) {
        synchronized (this) {
            if (free == 0) {
                if (wasHere) {
                    queue.addFirst(task);
                } else {
                    queue.addLast(task);
                }
                return;
            }
            free--;
        }
        task.run();
    }

    void leave(boolean isGood) {
        if (isGood) {
            lastGood = System.nanoTime();
        }
        Runnable next;
        synchronized (this) {
            next = queue.poll();
            if (next == null) {
                free++;
            }
        }
        if (next != null) {
            pool.execute(next);
        }
    }

    synchronized boolean isCrowded() {
        return !queue.isEmpty();
    }

    /** How long ago something got through. */
    long nanosSinceGood() {
        return System.nanoTime() - lastGood;
    }
}
