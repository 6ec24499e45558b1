import CRIClient
import CRIModel
import Kernel
import SwiftProtobuf
import TestSupport
import Testing

/// Pods come and go in turns of fifty, and nothing of them stays. CHURN_PODS=n for another number than a thousand.
@Suite(.serialized) struct ChaosChurnTests {
  @Test func podsComeAndGoInTurnsOfFiftyAndNothingOfThemStays() async throws {
    let wanted = chaosCount("CHURN_PODS", default: 1000)
    let turn = 50
    try await CRINode.with { node, client in
      try await churn(node, client, 0..<8)
      let before = try Footprint(node)
      var first = 0
      while first < wanted {
        let last = min(first + turn, wanted)
        try await churn(node, client, first..<last)
        first = last
        try node.expectNothingLeftOfPods()
      }
      #expect(try await client.listPodSandboxes().isEmpty)
      #expect(try await client.listContainers().isEmpty)
      let after = try Footprint(node)
      // The pool of ready networks breathes by some; a descriptor a pod would be a hundred.
      #expect(after.descriptors <= before.descriptors + 24, "\(before) became \(after)")
      #expect(after.mounts <= before.mounts + 8, "\(before) became \(after)")
      #expect(after.threads <= before.threads + 16, "\(before) became \(after)")
      // A pod's records are some kilobytes; what the allocator keeps for the next turn is not theirs.
      #expect(after.residentKilobytes <= before.residentKilobytes + 24 * 1024, "\(before) became \(after)")
    }
  }

  /// Each pod is run with a container, all at once in groups of eight, and removed again.
  private func churn(_ node: CRINode, _ client: CRIClient, _ numbers: Range<Int>) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for lane in 0..<8 {
        group.addTask {
          for number in numbers where number % 8 == lane {
            let config = node.pod("churn\(number)")
            let pod = try await client.runPodSandbox(config)
            _ = try await node.run(client, in: pod, config, node.container("main", ["sleep", "1000"]))
            try await client.stopPodSandbox(pod)
            try await client.removePodSandbox(pod)
          }
        }
      }
      try await group.waitForAll()
    }
  }

  private struct Footprint: CustomStringConvertible {
    let descriptors: Int
    let mounts: Int
    let threads: Int
    let residentKilobytes: Int

    init(_ node: CRINode) throws {
      let process = try node.processID()
      descriptors = try Directory(path: "/proc/\(process)/fd").list().count
      threads = try Directory(path: "/proc/\(process)/task").list().count
      mounts = try (Files.readText("/proc/\(process)/mountinfo") ?? "").split(separator: "\n").count
      let status = try Files.readText("/proc/\(process)/status") ?? ""
      let resident = status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
      residentKilobytes = resident.flatMap { Int($0.split { !$0.isNumber }.first ?? "") } ?? 0
    }

    var description: String {
      "\(descriptors) descriptors, \(mounts) mounts, \(threads) threads, \(residentKilobytes) kB"
    }
  }
}
