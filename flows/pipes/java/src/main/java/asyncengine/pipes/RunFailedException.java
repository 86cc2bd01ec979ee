package asyncengine.pipes;

import org.apache.camel.CamelException;

/** The run that was waited for ended without a result: it failed or was cancelled. */
public class RunFailedException extends CamelException {

    private final String correlationId;
    private final String status;
    private final String run;

    RunFailedException(String correlationId, String status, String error, String run) {
        super("Run " + correlationId + " is " + status + (error.isBlank() ? "" : ": " + error));
        this.correlationId = correlationId;
        this.status = status;
        this.run = run;
    }

    public String getCorrelationId() {
        return correlationId;
    }

    /** {@code FAILED} or {@code CANCELLED}. */
    public String getStatus() {
        return status;
    }

    /** The run as JSON, with its steps, attempts and logs. */
    public String getRun() {
        return run;
    }

    /** The status for a caller of yours: 500. */
    public int getHttpStatus() {
        return 500;
    }

    /** A problem document (RFC 9457) for a caller of yours. */
    public String getProblemDocument() {
        return ProblemDocument.of(getHttpStatus(), getMessage());
    }
}
