import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.TreeSet;

/** The commands of opensearch-keystore that a script needs: create [NAME...], list, add --stdin NAME, remove NAME; values come
 *  from stdin, one a line. By reflection, for the server keeps its keystore's methods to itself. */
public class Keystore {
  public static void main(String[] arguments) throws Exception {
    Path folder = Path.of(System.getenv("OPENSEARCH_PATH_CONF"));
    char[] none = new char[0];
    Class<?> wrapper = Class.forName("org.opensearch.common.settings.KeyStoreWrapper");
    Object keystore = arguments[0].equals("create") ? null : wrapper.getMethod("load", Path.class).invoke(null, folder);
    if (keystore == null) keystore = wrapper.getMethod("create").invoke(null);
    else wrapper.getMethod("decrypt", char[].class).invoke(keystore, none);
    switch (arguments[0]) {
      case "list" -> {
        for (Object each : new TreeSet<>((java.util.Set<?>) wrapper.getMethod("getSettingNames").invoke(keystore))) System.out.println(each);
        return;
      }
      case "create", "add" -> {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (int i = 1; i < arguments.length; i++) {
          if (!arguments[i].startsWith("-")) call(wrapper, "setString", keystore, arguments[i], input.readLine().toCharArray());
        }
      }
      case "remove" -> call(wrapper, "remove", keystore, arguments[1]);
      default -> throw new IllegalArgumentException(arguments[0]);
    }
    wrapper.getMethod("save", Path.class, char[].class).invoke(keystore, folder, none);
  }

  private static void call(Class<?> type, String name, Object target, Object... arguments) throws Exception {
    for (Method method : type.getDeclaredMethods()) {
      if (method.getName().equals(name) && method.getParameterCount() == arguments.length) {
        method.setAccessible(true);
        method.invoke(target, arguments);
        return;
      }
    }
    throw new NoSuchMethodException(name);
  }
}
