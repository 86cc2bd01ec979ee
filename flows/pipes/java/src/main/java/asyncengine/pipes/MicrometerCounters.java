package asyncengine.pipes;

import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Metrics;
import org.apache.camel.CamelContext;

/** Counts in the application's meter registry. */
final class MicrometerCounters implements Counters {

    private final MeterRegistry meters;

    private MicrometerCounters(MeterRegistry meters) {
        this.meters = meters;
    }

    static Counters of(CamelContext context) {
        MeterRegistry meters = context.getRegistry().findSingleByType(MeterRegistry.class);
        return new MicrometerCounters(meters == null ? Metrics.globalRegistry : meters);
    }

    @Override
    public void started(String flowName, boolean isGood) {
        meters.counter("asyncengine.starts", "flow", flowName, "outcome", isGood ? "started" : "failed").increment();
    }

    @Override
    public void retried(String reason) {
        meters.counter("asyncengine.retries", "reason", reason).increment();
    }

    @Override
    public void awaited(boolean isGood) {
        meters.counter("asyncengine.awaits", "outcome", isGood ? "completed" : "failed").increment();
    }
}
