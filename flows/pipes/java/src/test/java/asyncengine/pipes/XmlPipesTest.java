package asyncengine.pipes;

class XmlPipesTest extends PipesContract {

    @Override
    Form form() {
        return Form.XML;
    }
}
