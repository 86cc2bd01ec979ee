package asyncengine.pipes;

class YamlPipesTest extends DslPipesContract {

    @Override
    String language() {
        return "yaml";
    }
}
