import CRIModel
import JSON
import SwiftProtobuf
import TestSupport
import Testing

@testable import martlet

@Suite struct FiguresTests {
  private func stats(_ index: Int, at seconds: Int64, used nanoseconds: UInt64) -> CRIContainerStats {
    .with {
      $0.attributes.id = sample.containers[index].id
      $0.attributes.metadata.name = "x"
      $0.cpu.timestamp = seconds * 1_000_000_000
      $0.cpu.usageCoreNanoSeconds.value = nanoseconds
      $0.memory.workingSetBytes.value = UInt64(index + 1) << 20
      $0.writableLayer.usedBytes.value = 4096
    }
  }

  @Test func ratesComeFromTwoLooks() {
    let before = Figures.Sample(stats: [stats(1, at: 10, used: 0), stats(2, at: 10, used: 500)])
    let after = Figures.Sample(stats: [stats(1, at: 12, used: 3_000_000_000), stats(2, at: 12, used: 100)])
    let figures = Figures(after, before: before, inventory: sample)
    #expect(figures.rows[0].processors == 1.5)
    // A counter that went back belongs to a container that was started anew.
    #expect(figures.rows[1].processors == nil)
    #expect(Figures(after, before: nil, inventory: sample).rows[0].processors == nil)
  }

  @Test func tableIsGolden() throws {
    let before = Figures.Sample(stats: [stats(1, at: 10, used: 0), stats(3, at: 10, used: 0)])
    let after = Figures.Sample(
      stats: [stats(1, at: 12, used: 3_000_000_000), stats(2, at: 12, used: 1), stats(3, at: 12, used: 100_000_000)])
    let figures = Figures(after, before: before, inventory: sample)
    let orders: [Figures.Order] = [.name, .processors, .memory]
    try Golden.check(orders.map { figures.sorted(by: $0).table.text() }.joined(separator: "\n"), named: "stats.txt")
    try Golden.check(figures.sorted(by: .name).json.encodedString(pretty: true), named: "stats.json")
  }
}
