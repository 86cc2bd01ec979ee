package asyncengine.pipes;

class YamlPipesTest extends PipesContract {

    @Override
    Form form() {
        return Form.YAML;
    }
}
