// Writes SSTables of px.big without a server: rows of about 1 KB, half of it words and half noise, so that LZ4 saves
// about a quarter.
//
// usage: java BigTable DIRECTORY RAW_BYTES BUFFER_MIB     Cassandra's jars on the class path; `data.sh` does it
//
// Each full buffer becomes an SSTable of about three quarters of its size.
//
// The seed is fixed: every run writes the same rows.

import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Date;
import java.util.Random;

import org.apache.cassandra.io.sstable.CQLSSTableWriter;

public final class BigTable {
    private static final String SCHEMA =
        "CREATE TABLE px.big (pk bigint, ck int, at timestamp, words text, noise blob, PRIMARY KEY (pk, ck))";
    private static final String INSERT = "INSERT INTO px.big (pk, ck, at, words, noise) VALUES (?, ?, ?, ?, ?)";
    private static final String[] WORDS = {
        "account", "bridge", "copper", "delta", "engine", "forest", "garden", "harbour", "island", "journal",
        "kernel", "ladder", "meadow", "number", "orchard", "packet", "quarry", "river", "signal", "timber",
    };
    private static final int ROWS_PER_PARTITION = 20;
    private static final int WORDS_BYTES = 512;
    private static final int NOISE_BYTES = 512;

    public static void main(String[] arguments) throws Exception {
        Path directory = Files.createDirectories(Path.of(arguments[0]));
        long rawBytes = Long.parseLong(arguments[1]);
        int bufferMib = Integer.parseInt(arguments[2]);
        Random random = new Random(1);
        long written = 0;
        try (CQLSSTableWriter writer = CQLSSTableWriter.builder()
                .inDirectory(directory.toString())
                .forTable(SCHEMA)
                .using(INSERT)
                .withBufferSizeInMiB(bufferMib)
                .build()) {
            for (long partition = 0; written < rawBytes; partition++) {
                for (int row = 0; row < ROWS_PER_PARTITION; row++) {
                    byte[] noise = new byte[NOISE_BYTES];
                    random.nextBytes(noise);
                    String words = words(random);
                    writer.addRow(partition, row, new Date(1_700_000_000_000L + written), words, ByteBuffer.wrap(noise));
                    written += words.length() + NOISE_BYTES + 20;
                }
            }
        }
        // The writer leaves threads of the server behind.
        System.exit(0);
    }

    private static String words(Random random) {
        StringBuilder text = new StringBuilder(WORDS_BYTES + 16);
        while (text.length() < WORDS_BYTES) {
            text.append(WORDS[random.nextInt(WORDS.length)]).append(' ').append(random.nextInt(1000)).append(' ');
        }
        return text.toString();
    }
}
