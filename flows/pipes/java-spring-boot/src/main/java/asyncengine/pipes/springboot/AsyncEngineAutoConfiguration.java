package asyncengine.pipes.springboot;

import asyncengine.pipes.AsyncEngineComponent;
import asyncengine.pipes.AsyncEngineRoutes;
import org.apache.camel.CamelContext;
import org.springframework.boot.actuate.health.HealthIndicator;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;

/** The component, its routes and its health in an application of Spring Boot. */
@AutoConfiguration(afterName = "org.apache.camel.spring.boot.CamelAutoConfiguration")
@ConditionalOnBean(CamelContext.class)
@EnableConfigurationProperties(AsyncEngineProperties.class)
public class AsyncEngineAutoConfiguration {

    @Bean("asyncengine-component")
    @ConditionalOnMissingBean(AsyncEngineComponent.class)
    AsyncEngineComponent asyncEngineComponent(CamelContext context, AsyncEngineProperties properties) {
        AsyncEngineComponent component = new AsyncEngineComponent(context);
        properties.applyTo(component.getConfiguration());
        return component;
    }

    @Bean
    @ConditionalOnMissingBean(AsyncEngineRoutes.class)
    @ConditionalOnProperty(prefix = "asyncengine", name = "routes", matchIfMissing = true)
    AsyncEngineRoutes asyncEngineRoutes() {
        return new AsyncEngineRoutes();
    }

    /** The health of the engine, where the application has the Actuator. */
    @Configuration(proxyBeanMethods = false)
    @ConditionalOnClass(HealthIndicator.class)
    static class Health {

        @Bean
        @ConditionalOnMissingBean(name = "asyncEngineHealthIndicator")
        @ConditionalOnProperty(
                prefix = "management.health.asyncengine", name = "enabled", matchIfMissing = true)
        HealthIndicator asyncEngineHealthIndicator(AsyncEngineComponent component) {
            return new AsyncEngineHealthIndicator(component);
        }
    }
}
