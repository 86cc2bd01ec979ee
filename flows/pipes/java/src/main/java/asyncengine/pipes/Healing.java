package asyncengine.pipes;

import java.io.IOException;
import java.net.ConnectException;
import java.net.ProtocolException;
import java.net.http.HttpConnectTimeoutException;
import java.nio.channels.UnresolvedAddressException;
import java.security.cert.CertPathBuilderException;
import java.security.cert.CertPathValidatorException;
import java.security.cert.CertificateException;
import javax.net.ssl.SSLException;
import javax.net.ssl.SSLPeerUnverifiedException;

/** Which troubles of a connection another try may get over. */
final class Healing {

    private Healing() {}

    /** A certificate or a protocol that does not fit stays so. A connection that breaks may hold. */
    static boolean mayHeal(IOException trouble) {
        boolean isTls = false;
        for (Throwable cause = trouble; cause != null; cause = cause.getCause()) {
            if (cause instanceof CertificateException
                    || cause instanceof CertPathBuilderException
                    || cause instanceof CertPathValidatorException
                    || cause instanceof SSLPeerUnverifiedException
                    || cause instanceof ProtocolException) {
                return false;
            }
            isTls = isTls || cause instanceof SSLException;
        }
        return !isTls || isBroken(trouble);
    }

    /** Whether a request may have come to the engine, which then gave no answer. */
    static boolean mayHaveArrived(Throwable trouble) {
        for (Throwable cause = trouble; cause != null; cause = cause.getCause()) {
            if (cause instanceof ConnectException
                    || cause instanceof UnresolvedAddressException
                    || cause instanceof HttpConnectTimeoutException
                    || cause instanceof SSLException) {
                return false;
            }
        }
        return trouble instanceof IOException;
    }

    /** Whether a TLS connection ended before its time, as when the engine is killed. */
    private static boolean isBroken(Throwable trouble) {
        for (Throwable cause = trouble; cause != null; cause = cause.getCause()) {
            String message = String.valueOf(cause.getMessage());
            boolean isTls = cause instanceof SSLException;
            if (isTls ? message.contains("terminated the handshake") || message.contains("closed") : isEnd(cause)) {
                return true;
            }
        }
        return false;
    }

    private static boolean isEnd(Throwable cause) {
        String message = String.valueOf(cause.getMessage());
        return cause instanceof java.io.EOFException || message.contains("reset") || message.contains("Broken pipe");
    }
}
