package asyncengine.pipes;

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
}
