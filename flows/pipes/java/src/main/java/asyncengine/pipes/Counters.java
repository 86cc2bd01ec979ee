package asyncengine.pipes;

import org.apache.camel.CamelContext;
import org.slf4j.LoggerFactory;

/** Counts what happens; in Micrometer where the application has it. */
interface Counters {

    Counters NONE = new Counters() {};

    /** A start ended: started, or refused or failed. */
    default void started(String flowName, boolean isGood) {}

    /** A request is tried again: after a status, or "no-answer". */
    default void retried(String reason) {}

    /** Waiting for a run ended. */
    default void awaited(boolean isGood) {}

    static Counters of(CamelContext context) {
        if (context.getClassResolver().resolveClass("io.micrometer.core.instrument.MeterRegistry") == null) {
            return NONE;
        }
        try {
            return MicrometerCounters.of(context);
        } catch (LinkageError error) {
            LoggerFactory.getLogger(Counters.class).debug("Micrometer is not usable", error);
            return NONE;
        }
    }
}
