SELECT partition, epoch FROM partitions ORDER BY partition
