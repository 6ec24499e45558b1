import Kernel
import PodRuntime
import Testing

/// A change of resources over earlier ones, and the files that it writes.
struct ResourceUpdate: Sendable, CustomTestStringConvertible {
  var testDescription: String
  var earlier = LinuxResources()
  var update = LinuxResources()
  var writes: [String]

  init(
    _ description: String, writes: [String], _ change: (inout LinuxResources, inout LinuxResources) -> Void
  ) {
    testDescription = description
    self.writes = writes
    change(&earlier, &update)
  }
}

@Suite struct ResourceUpdateTests {
  private static let mebi: Int64 = 1 << 20

  static let updates: [ResourceUpdate] = [
    ResourceUpdate("swap alone counts with the memory that is there", writes: ["memory.swap.max=1048576"]) {
      $0.memoryLimit = 4 * mebi
      $1.memorySwapLimit = 5 * mebi
    },
    ResourceUpdate("memory and swap", writes: ["memory.max=8388608", "memory.swap.max=0"]) {
      $0.memoryLimit = 4 * mebi
      $1.memoryLimit = 8 * mebi
      $1.memorySwapLimit = 8 * mebi
    },
    ResourceUpdate(
      "more memory leaves less of the whole to swap", writes: ["memory.max=6291456", "memory.swap.max=2097152"]
    ) {
      $0.memoryLimit = 4 * mebi
      $0.memorySwapLimit = 8 * mebi
      $1.memoryLimit = 6 * mebi
    },
    ResourceUpdate("no more memory limit", writes: ["memory.max=\(UInt64.max)"]) {
      $0.memoryLimit = 4 * mebi
      $1.memoryLimit = -1
    },
    ResourceUpdate("a quota is lifted", writes: ["cpu.max=max 50000"]) {
      $0.cpuQuota = 20_000
      $0.cpuPeriod = 50_000
      $1.cpuQuota = -1
    },
    ResourceUpdate("a period alone keeps its quota", writes: ["cpu.max=20000 50000"]) {
      $0.cpuQuota = 20_000
      $1.cpuPeriod = 50_000
    },
    ResourceUpdate("huge pages are taken back", writes: ["hugetlb.2MB.max=0"]) {
      $0.hugepages = ["2MB": 4 << 20]
      $1.hugepages = ["2MB": 0, "1GB": 0]
    },
    ResourceUpdate("what the kernel calls them has the last word", writes: ["cpu.weight=100", "cpu.weight=7"]) {
      $1.cpuShares = 1024
      $1.unified = ["cpu.weight": "7"]
    },
    ResourceUpdate("nothing", writes: []) { earlier, _ in earlier.cpuShares = 5 },
  ]

  @Test(arguments: updates) func writesWhatChanges(_ entry: ResourceUpdate) throws {
    let writes = try entry.update.limits(over: entry.earlier).writes().map { "\($0.file)=\($0.value)" }
    #expect(writes == entry.writes)
  }
}
