import CRIModel
import JSON
import SwiftProtobuf
import Testing

@testable import NodeAgent

@Suite struct FigureTests {
  private static let stat = "cpu  100 10 40 9000 500 3 2 5 7 0\ncpu0 1 1 1 1\n"
  private static let meminfo = "MemTotal: 1000 kB\nMemFree: 300 kB\nMemAvailable: 600 kB\n"

  private func pod(at: Int64, _ nanoseconds: UInt64) -> CRIPodSandboxStats {
    .with {
      $0.attributes.id = "s"
      $0.attributes.metadata.name = "web"
      $0.attributes.metadata.namespace = "shop"
      $0.linux.cpu.timestamp = at
      $0.linux.cpu.usageCoreNanoSeconds.value = nanoseconds
      $0.linux.containers = [
        .with {
          $0.attributes.id = "c"
          $0.attributes.metadata.name = "main"
          $0.cpu.timestamp = at
          $0.cpu.usageCoreNanoSeconds.value = nanoseconds
          $0.memory.workingSetBytes.value = 4096
        }
      ]
    }
  }

  @Test func theNodesWorkIsReadFromTheKernelsWords() {
    let node = NodeUsage(stat: Self.stat, meminfo: Self.meminfo, at: 5)
    // user, nice, system, irq, softirq, steal; never idle, waiting, nor guests, who are in user already.
    #expect(node.cpuNanoseconds == 160 * 10_000_000)
    let memory: [UInt64] = [node.memoryBytes, node.workingSetBytes, node.availableBytes]
    let expected: [UInt64] = [716_800, 409_600, 614_400]
    #expect(memory == expected)
    #expect(NodeUsage(stat: "", meminfo: "", at: 0).memoryBytes == 0)
  }

  @Test func ratesAreThoseBetweenTwoLooksThatAreFarEnoughApart() {
    let second: Int64 = 1_000_000_000
    func node(_ at: Int64, _ ns: UInt64) -> NodeUsage {
      var usage = NodeUsage(stat: "", meminfo: "", at: at)
      usage.cpuNanoseconds = ns
      return usage
    }
    let meter = NodeMeter(node: node(0, 0))
    func look(_ at: Int64, _ ns: UInt64) -> [UInt64] {
      var (usage, pods) = (node(at, ns), [pod(at: at, ns / 2)])
      meter.measure(&usage, &pods)
      let linux = pods[0].linux
      return [usage.cpuNanoCores, linux.cpu.usageNanoCores.value, linux.containers[0].cpu.usageNanoCores.value]
    }
    #expect(look(2 * second, 1_000_000_000) == [500_000_000, 0, 0])
    #expect(look(4 * second, 2_000_000_000) == [500_000_000, 250_000_000, 250_000_000])
    // Too soon to say anything new.
    #expect(look(4 * second + 1000, 2_900_000_000) == [500_000_000, 250_000_000, 250_000_000])
    // One that began anew has used nothing before.
    #expect(look(6 * second, 0) == [0, 0, 0])
  }

  @Test func aSummaryIsAsAKubeletTellsIt() {
    var figures = NodeFigures(
      nodeName: "n1", node: NodeUsage(stat: Self.stat, meminfo: Self.meminfo, at: 0), pods: [pod(at: 0, 1_500_000_000)])
    figures.node.cpuNanoCores = 7
    let summary = figures.summary
    #expect(summary["node"]?["cpu"]?["usageNanoCores"]?.integer == 7)
    #expect(summary["pods"]?[0]?["podRef"]?["namespace"]?.string == "shop")
    #expect(summary["pods"]?[0]?["containers"]?[0]?["memory"]?["workingSetBytes"]?.integer == 4096)
  }
}
