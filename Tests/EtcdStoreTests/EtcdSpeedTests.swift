import EtcdStore
import Kernel
import ObjectStore
import TestSupport
import Testing

/// Figures of both engines side by side, for `MARTLET_FIGURES=file`, where they are written; `MARTLET_FIGURES_DIR` is on the
/// disk to be measured.
@Suite(.serialized, .enabled(if: environmentVariable("MARTLET_FIGURES") != nil)) struct EtcdSpeedTests {
  static let seconds = 3.0
  static let value = [UInt8](repeating: 0x61, count: 2000)

  /// Puts of 2 kB a second, and the median and 99th percentile of one in milliseconds.
  static func measure(_ store: ObjectStore, writers: Int) async throws -> String {
    let end = ContinuousClock.now + .seconds(seconds)
    let times = try await withThrowingTaskGroup(of: [Double].self) { group in
      for writer in 0..<writers {
        group.addTask {
          var times: [Double] = []
          var count = 0
          while ContinuousClock.now < end {
            count += 1
            let began = ContinuousClock.now
            _ = try await store.commit(Transaction(puts: [("/bench/\(writer)/\(count % 100)", Self.value)]))
            times.append(Double((ContinuousClock.now - began).components.attoseconds) / 1e15)
          }
          return times
        }
      }
      return try await group.reduce(into: []) { $0 += $1 }.sorted()
    }
    let round = { (value: Double) in (value * 100).rounded() / 100 }
    return
      "\(Int(Double(times.count) / seconds)) puts/s, p50 \(round(times[times.count / 2])) ms, p99 \(round(times[times.count * 99 / 100])) ms"
  }

  @Test func bothEnginesOnTheSameDisk() async throws {
    let file = try #require(environmentVariable("MARTLET_FIGURES"))
    let place = "\(environmentVariable("MARTLET_FIGURES_DIR") ?? "/tmp")/mt-figures-\(randomHex(bytes: 4))"
    try Files.makeDirectories(place)
    defer { try? Files.removeTree(place) }
    let etcd = try await EtcdProcess(directory: place)
    let stores = [
      ("SQLite", try await ObjectStore.open(directory: place + "/store")),
      ("etcd", try await EtcdStore.open(EtcdOptions(servers: [etcd.url]))),
    ]
    var lines = ""
    for writers in [1, 16, 64] {
      for (name, store) in stores {
        lines += "\(name), \(writers) writers: \(try await Self.measure(store, writers: writers))\n"
      }
    }
    try Files.writeAtomically(file, Array(lines.utf8))
    for (_, store) in stores { await store.close() }
    etcd.kill()
  }
}
