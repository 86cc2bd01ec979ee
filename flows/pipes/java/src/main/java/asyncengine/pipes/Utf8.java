package asyncengine.pipes;

import java.nio.charset.StandardCharsets;

/** The bytes of a text. */
final class Utf8 {

    private Utf8() {}

    /** Throws IllegalArgumentException for half a character, which Java would write as a question mark. */
    static byte[] of(String text) {
        for (int at = 0; at < text.length(); at++) {
            char one = text.charAt(at);
            boolean isPair = at + 1 < text.length() && Character.isSurrogatePair(one, text.charAt(at + 1));
            if (isPair) {
                at++;
            } else if (Character.isSurrogate(one)) {
                throw new IllegalArgumentException(
                        "The body holds a lone surrogate, which is no character, at " + at + " of its text");
            }
        }
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
