package asyncengine.pipes;

import java.util.stream.Stream;
import org.apache.camel.main.Main;

/** The forms of the contract routes. */
enum Form {
    JAVA {
        @Override
        void addTo(Main main) {
            main.configure().addRoutesBuilder(new AsyncEngineRoutes());
        }
    },
    YAML {
        @Override
        void addTo(Main main) {
            main.configure().withRoutesIncludePattern("file:../async-engine.camel.yaml");
        }
    },
    XML {
        @Override
        void addTo(Main main) {
            main.configure().withRoutesIncludePattern("file:../async-engine.camel.xml");
        }
    };

    abstract void addTo(Main main);

    /** The forms that the application can have: Camel's XML DSL is not to be had in every version. */
    static Stream<Form> present() {
        return Stream.of(values()).filter(form -> form != XML || hasXml());
    }

    private static boolean hasXml() {
        try {
            Class.forName("org.apache.camel.dsl.xml.io.XmlRoutesBuilderLoader");
            return true;
        } catch (ClassNotFoundException error) {
            return false;
        }
    }
}
