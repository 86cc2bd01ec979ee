// Calls a client of openapi-generator (java, native) step by step, and prints a line of JSON for
// each.
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.File;
import java.lang.reflect.Method;
import java.lang.reflect.Parameter;
import java.nio.file.Files;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;

public class Walk {
    static String keyOf(String name) {
        return name.toLowerCase().replaceAll("[^a-z0-9]", "");
    }

    public static void main(String[] arguments) throws Exception {
        ObjectMapper json = walked.ApiClient.createDefaultObjectMapper();
        JsonNode plan = json.readTree(new File(arguments[0]));
        String kept = "";
        for (JsonNode step : plan.get("steps")) {
            boolean isKept = step.get("withKeptToken").asBoolean();
            String token = isKept ? kept : plan.get("token").asText();
            walked.ApiClient client = new walked.ApiClient();
            client.updateBaseUri(plan.get("url").asText());
            client.setRequestInterceptor(call -> call.header("Authorization", "Bearer " + token));
            String operation = step.get("operationId").asText();
            Method method = methodOf(operation, arguments);
            Object api = method.getDeclaringClass().getConstructor(walked.ApiClient.class)
                .newInstance(client);
            walked.ApiResponse<?> response =
                (walked.ApiResponse<?>) method.invoke(api, values(json, method, step));
            Object data = response.getData();
            if (data instanceof File file) data = Files.readString(file.toPath());
            JsonNode answer = json.valueToTree(data);
            if (step.get("keepsToken").asBoolean()) kept = answer.get("accessToken").asText();
            ObjectNode line = json.createObjectNode();
            line.put("operationId", operation).put("status", response.getStatusCode());
            System.out.println(json.writeValueAsString(line.set("answer", answer)));
        }
    }

    static Method methodOf(String operation, String[] arguments) throws Exception {
        String wanted = keyOf(operation) + "withhttpinfo";
        for (int index = 1; index < arguments.length; index++) {
            var found = Stream.of(Class.forName(arguments[index]).getMethods())
                .filter(method -> keyOf(method.getName()).equals(wanted))
                .min(Comparator.comparing(Method::getParameterCount));
            if (found.isPresent()) return found.get();
        }
        throw new NoSuchMethodException(operation);
    }

    static Object[] values(ObjectMapper json, Method method, JsonNode step) throws Exception {
        Map<String, JsonNode> given = new HashMap<>();
        step.get("parameters").fields()
            .forEachRemaining(each -> given.put(keyOf(each.getKey()), each.getValue()));
        Set<String> known = new HashSet<>();
        step.get("others").forEach(each -> known.add(keyOf(each.asText())));
        Parameter[] parameters = method.getParameters();
        Object[] values = new Object[parameters.length];
        for (int index = 0; index < parameters.length; index++) {
            String key = keyOf(parameters[index].getName());
            JsonNode value = known.contains(key) ? given.get(key) : step.get("body");
            var type = json.constructType(parameters[index].getParameterizedType());
            values[index] = value == null || value.isNull() ? null : json.convertValue(value, type);
        }
        return values;
    }
}
