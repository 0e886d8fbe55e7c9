import com.hivemq.embedded.EmbeddedExtension;
import com.hivemq.embedded.EmbeddedHiveMQ;
import com.hivemq.extension.sdk.api.ExtensionMain;
import com.hivemq.extension.sdk.api.auth.SimpleAuthenticator;
import com.hivemq.extension.sdk.api.auth.SubscriptionAuthorizer;
import com.hivemq.extension.sdk.api.auth.parameter.SimpleAuthInput;
import com.hivemq.extension.sdk.api.auth.parameter.SimpleAuthOutput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStartInput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStartOutput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStopInput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStopOutput;
import com.hivemq.extension.sdk.api.services.Services;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** HiveMQ with a log-in and rights, as an extension gives them. Usage: java Broker FOLDER. */
public final class Broker implements ExtensionMain {
    private final String user;
    private final String password;

    private Broker(final Path folder) throws Exception {
        final List<String> lines = Files.readAllLines(folder.resolve("passwords"));
        user = lines.get(0);
        password = lines.get(1);
    }

    public static void main(final String[] arguments) throws Exception {
        final Path folder = Path.of(arguments[0]);
        final EmbeddedExtension rights = EmbeddedExtension.builder()
                .withId("rights").withName("rights").withVersion("1").withAuthor("tests").withPriority(0)
                .withStartPriority(1000).withExtensionMain(new Broker(folder)).build();
        final EmbeddedHiveMQ broker = EmbeddedHiveMQ.builder()
                .withConfigurationFolder(folder.resolve("conf")).withDataFolder(folder.resolve("data"))
                .withExtensionsFolder(folder.resolve("extensions")).withEmbeddedExtension(rights).build();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> broker.stop().join()));
        broker.start().join();
    }

    @Override
    public void extensionStart(final ExtensionStartInput input, final ExtensionStartOutput output) {
        final SimpleAuthenticator logIn = this::logIn;
        Services.securityRegistry().setAuthenticatorProvider(provided -> logIn);
        final SubscriptionAuthorizer rights = (asked, answer) -> {
            if (asked.getSubscription().getTopicFilter().startsWith("secret/")) {
                answer.failAuthorization();
            } else {
                answer.authorizeSuccessfully();
            }
        };
        Services.securityRegistry().setAuthorizerProvider(provided -> rights);
    }

    @Override
    public void extensionStop(final ExtensionStopInput input, final ExtensionStopOutput output) {}

    private void logIn(final SimpleAuthInput input, final SimpleAuthOutput output) {
        final String name = input.getConnectPacket().getUserName().orElse(null);
        final ByteBuffer given = input.getConnectPacket().getPassword().orElse(ByteBuffer.allocate(0));
        if (name == null || name.equals(user) && password.equals(StandardCharsets.UTF_8.decode(given).toString())) {
            output.authenticateSuccessfully();
        } else {
            output.failAuthentication();
        }
    }
}
