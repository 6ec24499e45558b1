import CRIClient
import CRIModel
import JSON

/// What containers use, from two looks at their counters.
struct Figures: Equatable, Sendable {
  struct Row: Equatable, Sendable {
    var id: String
    var path: String
    /// Processor time per time: 1 is one processor fully used. Nil until two looks are there.
    var processors: Double?
    /// Nil where the node does not count it: a cgroup controller may be missing.
    var memoryBytes: UInt64?
    var swapBytes: UInt64
    var diskBytes: UInt64
  }

  enum Order: Sendable { case name, processors, memory }

  var rows: [Row]

  /// One look: the counters, and when they were read.
  struct Sample: Sendable {
    var stats: [CRIContainerStats]

    static func take(_ client: CRIClient) async throws(CRIError) -> Sample {
      Sample(stats: try await client.listContainerStats())
    }
  }

  init(rows: [Row]) { self.rows = rows }

  /// - Parameter before: an earlier look, where the daemon gives no rate itself.
  init(_ sample: Sample, before: Sample?, inventory: Inventory, only ids: Set<String>? = nil) {
    let earlier = Dictionary(
      (before?.stats ?? []).map { ($0.attributes.id, $0.cpu) }, uniquingKeysWith: { first, _ in first })
    rows = sample.stats.compactMap { stats in
      let id = stats.attributes.id
      if let ids, !ids.contains(id) { return nil }
      // A container may have come after the list was read.
      let container = inventory.containers.first { $0.id == id }
      return Row(
        id: id, path: container.map(inventory.path(of:)) ?? stats.attributes.metadata.name,
        processors: Self.processors(stats.cpu, earlier[id]),
        memoryBytes: stats.memory.hasWorkingSetBytes ? stats.memory.workingSetBytes.value : nil,
        swapBytes: stats.swap.swapUsageBytes.value, diskBytes: stats.writableLayer.usedBytes.value)
    }
  }

  private static func processors(_ now: CRICpuUsage, _ before: CRICpuUsage?) -> Double? {
    if let before, now.timestamp > before.timestamp,
      now.usageCoreNanoSeconds.value >= before.usageCoreNanoSeconds.value
    {
      return Double(now.usageCoreNanoSeconds.value - before.usageCoreNanoSeconds.value)
        / Double(now.timestamp - before.timestamp)
    }
    return now.hasUsageNanoCores ? Double(now.usageNanoCores.value) / 1e9 : nil
  }

  func sorted(by order: Order) -> Figures {
    Figures(
      rows: rows.sorted { left, right in
        switch order {
        case .processors where left.processors ?? 0 != right.processors ?? 0:
          left.processors ?? 0 > right.processors ?? 0
        case .memory where left.memoryBytes != right.memoryBytes: left.memoryBytes ?? 0 > right.memoryBytes ?? 0
        default: (left.path, left.id) < (right.path, right.id)
        }
      })
  }

  var table: Table {
    var table = Table(["CONTAINER", "ID", "CPU", "MEMORY", "SWAP", "DISK"])
    table.rows = rows.map { row in
      [
        Table.Cell(row.path), Table.Cell(Units.shortID(row.id)),
        Table.Cell(row.processors.map { "\(Units.fixed($0 * 100, 1))%" } ?? "-"),
        Table.Cell(row.memoryBytes.map(Units.bytes) ?? "-"), Table.Cell(Units.bytes(row.swapBytes)),
        Table.Cell(Units.bytes(row.diskBytes)),
      ]
    }
    return table
  }

  var json: JSONValue {
    .array(
      rows.map { row in
        var value: JSONObject = ["id": .string(row.id), "container": .string(row.path)]
        value["cpuCores"] = row.processors.map { JSONValue($0) } ?? .null
        value["memoryBytes"] = row.memoryBytes.map { .integer(Int64(clamping: $0)) } ?? .null
        value["swapBytes"] = .integer(Int64(clamping: row.swapBytes))
        value["diskBytes"] = .integer(Int64(clamping: row.diskBytes))
        return .object(value)
      })
  }
}
