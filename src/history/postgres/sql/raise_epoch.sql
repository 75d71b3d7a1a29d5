INSERT INTO partitions (partition, epoch) VALUES ($1, 1)
ON CONFLICT (partition) DO UPDATE SET epoch = partitions.epoch + 1
RETURNING epoch
