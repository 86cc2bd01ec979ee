package asyncengine.pipes;

import org.apache.camel.CamelContext;
import org.apache.camel.TypeConverter;

/** An object as JSON: written by Jackson where the application has it, else here. */
final class JsonBody {

    private JsonBody() {}

    /**
     * Writes an object.
     *
     * @throws IllegalArgumentException that names the place which JSON has no form for
     */
    static byte[] of(CamelContext context, Object body) {
        if (context.getClassResolver().resolveClass("com.fasterxml.jackson.databind.ObjectMapper") != null) {
            return JacksonBody.of(context, body);
        }
        try {
            return Utf8.of(PlainBody.of(body));
        } catch (PlainBody.NoForm error) {
            // A class of the application may come with a type converter.
            TypeConverter converter = context.getTypeConverter();
            byte[] bytes = error.isRoot() ? converter.tryConvertTo(byte[].class, body) : null;
            if (bytes == null) {
                throw error;
            }
            return bytes;
        }
    }

    static String wayOut() {
        return ". Make a map, a list, a text, a number, a boolean or null of it before the call"
                + ", or add what writes it: camel-jackson, or an ObjectMapper of yours in the registry";
    }
}
