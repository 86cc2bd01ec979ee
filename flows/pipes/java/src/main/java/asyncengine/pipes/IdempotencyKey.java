package asyncengine.pipes;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/** Keys as the engine takes them: 1 to 255 printable ASCII characters without a comma. */
final class IdempotencyKey {

    private static final int LONGEST = 255;
    private static final HexFormat HEX = HexFormat.of().withUpperCase();

    private IdempotencyKey() {}

    /**
     * Encodes a text so that different texts stay different: what a header cannot carry, and the
     * percent sign, as in URLs. A text that is too long then ends in its SHA-256.
     */
    static String of(String text) {
        StringBuilder key = new StringBuilder();
        for (int i = 0; i < text.length(); i += Character.charCount(text.codePointAt(i))) {
            int character = text.codePointAt(i);
            boolean isAtEdge = i == 0 || i == text.length() - 1;
            if (character > ' ' && character <= '~' && character != ',' && character != '%') {
                key.append((char) character);
            } else if (character == ' ' && !isAtEdge) {
                key.append(' ');
            } else {
                append(key, character);
            }
        }
        if (key.length() <= LONGEST) {
            return key.toString();
        }
        String digest = "%~" + digest(key.toString().getBytes(StandardCharsets.US_ASCII));
        return key.substring(0, LONGEST - digest.length()) + digest;
    }

    private static void append(StringBuilder key, int character) {
        if (character >= Character.MIN_SURROGATE && character <= Character.MAX_SURROGATE) {
            // Half a pair: UTF-8 has no bytes for it.
            key.append("%u").append(HEX.toHexDigits((char) character));
            return;
        }
        for (byte each : Character.toString(character).getBytes(StandardCharsets.UTF_8)) {
            HEX.toHexDigits(key.append('%'), each);
        }
    }

    /** Returns the SHA-256 in hexadecimal digits. */
    static String digest(byte[] bytes) {
        try {
            return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException(error);
        }
    }
}
