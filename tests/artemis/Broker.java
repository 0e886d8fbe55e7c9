import java.nio.file.Path;
import org.apache.activemq.artemis.core.server.embedded.EmbeddedActiveMQ;
import org.apache.activemq.artemis.spi.core.security.ActiveMQJAASSecurityManager;

/** Artemis with the log-ins of a login.config. Usage: java -Djava.security.auth.login.config=FILE Broker FOLDER. */
public final class Broker {
    public static void main(final String[] arguments) throws Exception {
        final EmbeddedActiveMQ broker = new EmbeddedActiveMQ();
        broker.setConfigResourcePath(Path.of(arguments[0], "broker.xml").toUri().toString());
        broker.setSecurityManager(new ActiveMQJAASSecurityManager("activemq"));
        broker.start();
    }
}
