// Writes one SSTable of px.rows without a server: 1,187,500 small rows in 59,375 partitions, of which LZ4 leaves about
// 100 MB.
//
// usage: java SmallRows DIRECTORY PARTITIONS     Cassandra's jars on the class path; `dump.sh` does it
//
// The seed is fixed: every run writes the same rows.

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Date;
import java.util.Map;
import java.util.Random;

import org.apache.cassandra.io.sstable.CQLSSTableWriter;

public final class SmallRows {
    private static final String SCHEMA =
        "CREATE TABLE px.rows (pk bigint, ck int, note text, value double, at timestamp, counts map<text, int>, "
            + "PRIMARY KEY (pk, ck))";
    private static final String INSERT = "INSERT INTO px.rows (pk, ck, note, value, at, counts) VALUES (?, ?, ?, ?, ?, ?)";
    private static final int ROWS_PER_PARTITION = 20;
    /** More than all rows take, so that there is one SSTable. */
    private static final int BUFFER_MIB = 2000;

    public static void main(String[] arguments) throws Exception {
        Path directory = Files.createDirectories(Path.of(arguments[0]));
        long partitions = Long.parseLong(arguments[1]);
        Random random = new Random(1);
        try (CQLSSTableWriter writer = CQLSSTableWriter.builder()
                .inDirectory(directory.toString())
                .forTable(SCHEMA)
                .using(INSERT)
                .withBufferSizeInMiB(BUFFER_MIB)
                .build()) {
            for (long partition = 0; partition < partitions; partition++) {
                for (int row = 0; row < ROWS_PER_PARTITION; row++) {
                    Date at = new Date(1_700_000_000_000L + random.nextInt(1_000_000_000));
                    String note = "note " + Long.toHexString(random.nextLong()) + Long.toHexString(random.nextLong())
                        + Long.toHexString(random.nextLong());
                    Map<String, Integer> counts =
                        Map.of("one", random.nextInt(), "two", random.nextInt(1000), "three", random.nextInt(10));
                    writer.addRow(partition, row, note, random.nextDouble() * 1000, at, counts);
                }
            }
        }
        // The writer leaves threads of the server behind.
        System.exit(0);
    }
}
