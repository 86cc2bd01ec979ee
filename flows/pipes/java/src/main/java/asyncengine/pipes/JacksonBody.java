package asyncengine.pipes;

import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonMappingException;
import com.fasterxml.jackson.databind.JsonSerializer;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.SerializerProvider;
import com.fasterxml.jackson.databind.module.SimpleModule;
import com.fasterxml.jackson.databind.ser.std.ToStringSerializer;
import java.io.IOException;
import java.time.temporal.Temporal;
import java.time.temporal.TemporalAmount;
import java.util.List;
import org.apache.camel.CamelContext;

/** Writes JSON by Jackson: by the application's own ObjectMapper, if it has one. */
final class JacksonBody {

    private static final ObjectMapper OURS = ours();

    private JacksonBody() {}

    static byte[] of(CamelContext context, Object body) {
        ObjectMapper own = context.getRegistry().findSingleByType(ObjectMapper.class);
        try {
            return (own == null ? OURS : own).writeValueAsBytes(body);
        } catch (JsonMappingException error) {
            throw new IllegalArgumentException(
                    "The body cannot be written as JSON: at " + place(error.getPath()) + ": "
                            + error.getOriginalMessage() + JsonBody.wayOut(),
                    error);
        } catch (JsonProcessingException error) {
            throw new IllegalArgumentException("The body cannot be written as JSON: " + error.getOriginalMessage(), error);
        }
    }

    private static String place(List<JsonMappingException.Reference> path) {
        StringBuilder place = new StringBuilder("$");
        for (JsonMappingException.Reference step : path.subList(0, Math.min(path.size(), 20))) {
            if (step.getFieldName() == null) {
                place.append('[').append(step.getIndex()).append(']');
            } else {
                place.append('.').append(step.getFieldName());
            }
        }
        return place.toString();
    }

    private static ObjectMapper ours() {
        ObjectMapper mapper = new ObjectMapper();
        SimpleModule module = new SimpleModule("asyncengine");
        // For applications without the module for java.time. Where it is there, it comes later and wins.
        module.addSerializer(Temporal.class, ToStringSerializer.instance);
        module.addSerializer(TemporalAmount.class, ToStringSerializer.instance);
        JsonSerializer<Number> finite = new Finite();
        for (Class<? extends Number> type : List.of(Double.class, double.class, Float.class, float.class)) {
            add(module, type, finite);
        }
        mapper.registerModule(module);
        mapper.findAndRegisterModules();
        mapper.disable(SerializationFeature.WRITE_DATES_AS_TIMESTAMPS, SerializationFeature.WRITE_DURATIONS_AS_TIMESTAMPS);
        return mapper;
    }

    @SuppressWarnings("unchecked")
    private static <T extends Number> void add(SimpleModule module, Class<T> type, JsonSerializer<Number> serializer) {
        module.addSerializer(type, (JsonSerializer<T>) (JsonSerializer<?>) serializer);
    }

    /** Refuses what Jackson would write as a text. */
    private static final class Finite extends JsonSerializer<Number> {

        @Override
        public void serialize(Number value, JsonGenerator json, SerializerProvider provider) throws IOException {
            if (!Double.isFinite(value.doubleValue())) {
                throw JsonMappingException.from(json, "the number " + value);
            }
            if (value instanceof Float number) {
                json.writeNumber(number);
            } else {
                json.writeNumber(value.doubleValue());
            }
        }
    }
}
