// Runs Cassandra's offline tools many times in one JVM: a JVM for each file would take longer than the work.
//
// usage: Tools RUNS     the file RUNS has one run per line, its parts separated by tabs: class, file for standard output,
//                       file for standard error, arguments
//
// After each run its exit code is printed, one per line. What runs is the tool's own `main`: nothing of what it does is
// done again here.

import java.io.BufferedOutputStream;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.Permission;
import java.util.Arrays;

public final class Tools {
    private static final class Exit extends SecurityException {
        final int code;

        Exit(int code) {
            this.code = code;
        }
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream answers = System.out;
        PrintStream complaints = System.err;
        System.setSecurityManager(new SecurityManager() {
            @Override
            public void checkExit(int code) {
                throw new Exit(code);
            }

            @Override
            public void checkPermission(Permission permission) {
            }
        });
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            String[] words = line.split("\t", -1);
            int code = 1;
            try (PrintStream out = file(words[1]); PrintStream err = file(words[2])) {
                System.setOut(out);
                System.setErr(err);
                code = run(words[0], Arrays.copyOfRange(words, 3, words.length));
            } finally {
                System.setOut(answers);
                System.setErr(complaints);
            }
            answers.println(code);
        }
        answers.flush();
        // Some tools leave threads behind.
        System.setSecurityManager(null);
        Runtime.getRuntime().halt(0);
    }

    private static PrintStream file(String path) throws Exception {
        return new PrintStream(new BufferedOutputStream(new FileOutputStream(path), 1 << 16), false, "UTF-8");
    }

    /** The exit code that a JVM of its own would have had. */
    private static int run(String tool, String[] arguments) throws Exception {
        try {
            Class.forName(tool).getMethod("main", String[].class).invoke(null, (Object) arguments);
            return 0;
        } catch (InvocationTargetException e) {
            if (e.getCause() instanceof Exit) {
                return ((Exit) e.getCause()).code;
            }
            e.getCause().printStackTrace(System.err);
            return 1;
        }
    }
}
