package asyncengine.pipes;

import java.util.concurrent.TimeoutException;

/** The run that was waited for has not ended in time. It goes on. */
public class RunTimeoutException extends TimeoutException {

    private final String correlationId;

    RunTimeoutException(String correlationId, String message, Throwable cause) {
        super(message);
        this.correlationId = correlationId;
        initCause(cause);
    }

    public String getCorrelationId() {
        return correlationId;
    }

    /** The status for a caller of yours: 504. */
    public int getHttpStatus() {
        return 504;
    }

    /** A problem document (RFC 9457) for a caller of yours. */
    public String getProblemDocument() {
        return ProblemDocument.of(getHttpStatus(), getMessage());
    }
}
