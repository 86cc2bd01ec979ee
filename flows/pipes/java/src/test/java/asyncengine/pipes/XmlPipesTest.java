package asyncengine.pipes;

class XmlPipesTest extends DslPipesContract {

    @Override
    String language() {
        return "xml";
    }
}
