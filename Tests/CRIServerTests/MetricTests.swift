import CRIModel
import Testing

@testable import CRIServer

@Suite struct MetricTests {
  private static let files = [
    "cpu.stat": "usage_usec 5000000\nuser_usec 3000000\nsystem_usec 2000000\nnr_periods 7\nnr_throttled 2\n"
      + "throttled_usec 1000000\n",
    "cpu.max": "20000 100000\n", "memory.current": "1000\n", "memory.max": "max\n", "memory.peak": "2000\n",
    "memory.low": "0\n", "memory.swap.current": "0\n", "memory.swap.max": "max\n",
    "memory.stat": "anon 300\nfile 500\ninactive_file 400\nfile_mapped 20\nkernel 50\npgfault 9\npgmajfault 1\n",
    "memory.events": "max 4\noom_kill 1\n", "pids.current": "3\n", "pids.max": "max\n",
    "io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n",
    "cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=3000000\n"
      + "full avg10=0.00 avg60=0.00 avg300=0.00 total=2000000\n",
    "hugetlb.2MB.current": "4096\n", "hugetlb.2MB.rsvd.current": "1\n",
  ]

  private func values(_ files: [String: String]) -> [String: UInt64] {
    let figures = GroupFigures(files: files, devices: ["8:0": "/dev/sda"])
    return Dictionary(
      figures.values.map { (([$0.name.rawValue] + $0.labels).joined(separator: " "), $0.value) },
      uniquingKeysWith: { first, _ in first })
  }

  @Test(
    arguments: [
      ("container_cpu_usage_seconds_total total", 5), ("container_cpu_user_seconds_total", 3),
      ("container_cpu_cfs_throttled_seconds_total", 1), ("container_spec_cpu_quota", 20_000),
      ("container_spec_cpu_period", 100_000), ("container_memory_working_set_bytes", 600),
      ("container_memory_max_usage_bytes", 2000), ("container_memory_failcnt", 4), ("container_oom_events_total", 1),
      ("container_memory_failures_total pgmajfault container", 1), ("container_spec_memory_limit_bytes", 0),
      ("container_fs_writes_bytes_total /dev/sda", 20), ("container_blkio_device_usage_total /dev/sda 8 0 Write", 20),
      ("container_pressure_cpu_waiting_seconds_total", 3), ("container_pressure_cpu_stalled_seconds_total", 2),
      ("container_hugetlb_usage_bytes 2MB", 4096), ("container_threads", 3), ("container_threads_max", 0),
    ] as [(String, UInt64)])
  func aGroupsFilesSayWhatTheMetricsSay(metric: String, value: UInt64) {
    #expect(values(Self.files)[metric] == value)
  }

  @Test func aMissingControllerGivesNoMetricInsteadOfANought() {
    let found = values(["cpu.stat": "usage_usec 1\n"])
    #expect(!found.keys.contains { $0.hasPrefix("container_memory") || $0.hasPrefix("container_fs") })
    #expect(found["container_cpu_usage_seconds_total total"] == 0)
  }

  @Test func filesOfRubbishGiveNothing() {
    let rubbish = Self.files.mapValues { _ in "\u{0}= : \n\n8:0 =\nmax max max" }
    #expect(values(rubbish).values.allSatisfy { $0 == 0 })
  }

  @Test func everyMetricHasItsLabelsAndItsHelp() {
    for name in MetricName.allCases {
      #expect(name.descriptor.help.hasSuffix(".") && name.descriptor.labelKeys.count >= 6)
    }
    for value in GroupFigures(files: Self.files, devices: [:]).values {
      #expect(value.labels.count == value.name.ownLabels.count, "\(value.name)")
    }
    #expect(Set(MetricName.allCases.map(\.rawValue)).count == 56)
  }

  @Test func softLimitsAreReadFromTheKernelsTable() {
    let text =
      "Limit                     Soft Limit           Hard Limit           Units     \n"
      + "Max open files            1024                 524288               files     \n"
      + "Max processes             unlimited            unlimited            processes \n"
    #expect(PodMetrics.softLimit("Max open files", in: text) == 1024)
    #expect(PodMetrics.softLimit("Max processes", in: text) == nil)
  }

  @Test func whatTheNodeSentIsWhatThePodReceived() throws {
    let table = """
      Inter-|   Receive                                                |  Transmit
       face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier
          lo: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
       mv123: 10 2 3 4 0 0 0 0 50 6 7 8 0 0 0 0
      """
    let link = try #require(LinkFigures(of: "mv123", in: table)?.seenFromPod)
    #expect(link.received == LinkFigures.Direction(bytes: 50, packets: 6, errors: 7, drops: 8))
    #expect(link.sent == LinkFigures.Direction(bytes: 10, packets: 2, errors: 3, drops: 4))
    #expect(LinkFigures(of: "mv12", in: table) == nil)
  }

  @Test func longListsAreCutIntoPartsAndEmptyOnesAreOnePart() {
    let entries = Array(0..<250)
    #expect(ListParts.parts(entries).map(\.count) == [100, 100, 50])
    #expect(ListParts.parts(entries).flatMap { Array($0) } == entries)
    #expect(ListParts.parts([Int]()).map(\.count) == [0])
  }
}
