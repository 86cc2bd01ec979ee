package asyncengine.pipes;

import java.lang.reflect.Array;
import java.lang.reflect.RecordComponent;
import java.time.temporal.TemporalAccessor;
import java.time.temporal.TemporalAmount;
import java.util.Date;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.stream.IntStream;
import org.apache.camel.util.json.Jsoner;

/** Writes JSON where there is no Jackson: what JSON has, and what Java programs mostly put into maps. */
final class PlainBody {

    /** JSON has no form for what is at a place. */
    static final class NoForm extends IllegalArgumentException {

        private final boolean isRoot;

        NoForm(String place, String what) {
            super("The body cannot be written as JSON: at " + place + " is " + what + JsonBody.wayOut());
            this.isRoot = place.equals("$");
        }

        boolean isRoot() {
            return isRoot;
        }
    }

    private static final int DEEPEST = 200;

    private final StringBuilder json = new StringBuilder();

    private PlainBody() {}

    static String of(Object body) {
        PlainBody writer = new PlainBody();
        writer.write(body, "$", 0);
        return writer.json.toString();
    }

    private void write(Object value, String place, int depth) {
        if (depth > DEEPEST) {
            throw new NoForm(place.substring(0, Math.min(place.length(), 200)), "nested deeper than " + DEEPEST);
        }
        if (value == null || value instanceof Boolean) {
            json.append(value);
        } else if (value instanceof Number number) {
            number(number, place);
        } else if (isText(value)) {
            text(value.toString());
        } else if (value instanceof Enum<?> constant) {
            text(constant.name());
        } else if (value instanceof Date date) {
            text(date.getClass() == Date.class ? date.toInstant().toString() : date.toString());
        } else if (value instanceof Optional<?> optional) {
            write(optional.orElse(null), place, depth);
        } else if (value instanceof Map<?, ?> map) {
            object(map, place, depth);
        } else if (value instanceof Iterable<?> items && !(value instanceof java.nio.file.Path)) {
            array(items, place, depth);
        } else if (value.getClass().isArray() && !(value instanceof byte[])) {
            array(items(value), place, depth);
        } else if (value instanceof Record one) {
            record(one, place, depth);
        } else {
            throw new NoForm(place, "a " + value.getClass().getName());
        }
    }

    private static boolean isText(Object value) {
        return value instanceof CharSequence
                || value instanceof Character
                || value instanceof UUID
                || value instanceof TemporalAccessor
                || value instanceof TemporalAmount
                || value instanceof java.net.URI
                || value instanceof java.net.URL;
    }

    private void number(Number number, String place) {
        if (number instanceof Double || number instanceof Float) {
            if (!Double.isFinite(number.doubleValue())) {
                throw new NoForm(place, "the number " + number);
            }
        }
        String text = number.toString();
        if (!text.matches("-?[0-9]+(\\.[0-9]+)?([eE][-+]?[0-9]+)?")) {
            throw new NoForm(place, "a " + number.getClass().getName());
        }
        json.append(text);
    }

    private void text(String text) {
        json.append('"').append(Jsoner.escape(text)).append('"');
    }

    private void object(Map<?, ?> map, String place, int depth) {
        String before = "{";
        for (Map.Entry<?, ?> entry : map.entrySet()) {
            String name = name(entry.getKey(), place);
            json.append(before);
            text(name);
            json.append(':');
            write(entry.getValue(), place + "." + name, depth + 1);
            before = ",";
        }
        json.append(map.isEmpty() ? "{}" : "}");
    }

    private static String name(Object key, String place) {
        if (key instanceof Enum<?> constant) {
            return constant.name();
        }
        if (key == null || !(isText(key) || key instanceof Number || key instanceof Boolean)) {
            throw new NoForm(place, "the key " + key);
        }
        return key.toString();
    }

    private void array(Iterable<?> items, String place, int depth) {
        int index = 0;
        json.append('[');
        for (Object item : items) {
            json.append(index == 0 ? "" : ",");
            write(item, place + "[" + index++ + "]", depth + 1);
        }
        json.append(']');
    }

    private static Iterable<?> items(Object array) {
        return (Iterable<Object>) () -> IntStream.range(0, Array.getLength(array))
                .mapToObj(index -> Array.get(array, index))
                .iterator();
    }

    private void record(Record one, String place, int depth) {
        String before = "{";
        for (RecordComponent component : one.getClass().getRecordComponents()) {
            json.append(before);
            text(component.getName());
            json.append(':');
            String there = place + "." + component.getName();
            write(component(one, component, there), there, depth + 1);
            before = ",";
        }
        json.append(before.equals("{") ? "{}" : "}");
    }

    private static Object component(Record one, RecordComponent component, String place) {
        try {
            component.getAccessor().setAccessible(true);
            return component.getAccessor().invoke(one);
        } catch (ReflectiveOperationException | RuntimeException error) {
            throw new NoForm(place, "what cannot be read: " + error);
        }
    }
}
