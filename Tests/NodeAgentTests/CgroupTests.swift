import CRIModel
import JSON
import Kernel
import KubeModel
import PodTranslation
import SwiftProtobuf
import TestSupport
import Testing

@testable import NodeAgent

@Suite struct CgroupTests {
  private static func pod(_ resources: String) throws -> Pod {
    try Pod(
      strict: .parse(
        """
        {"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","uid":"u-1"},
         "spec":{"containers":[{"name":"c","image":"web:1","resources":\(resources)}]}}
        """))
  }

  private static let places: [(String, String?, String?)] = [
    ("{}", "/", "/kubepods/besteffort/podu-1"), ("{}", "", "/kubepods/besteffort/podu-1"),
    (#"{"requests":{"cpu":"1"}}"#, "martlet", "/martlet/kubepods/burstable/podu-1"),
    (#"{"limits":{"cpu":"1","memory":"1Gi"}}"#, "/martlet", "/martlet/kubepods/podu-1"), ("{}", nil, nil),
  ]

  @Test(arguments: places)
  func aPodIsInTheCgroupOfItsClass(_ resources: String, _ root: String?, _ path: String?) throws {
    var facts = NodeFacts(nodeName: "n1")
    facts.cgroupRoot = root
    let translation = PodTranslation(pod: try Self.pod(resources), facts: facts)
    #expect(translation.cgroup == path)
    #expect(translation.sandbox(attempt: 0).linux.cgroupParent == path ?? "")
  }

  @Test(arguments: [
    ("{}", "kubepods-besteffort-podu_1.slice"), (#"{"requests":{"cpu":"1"}}"#, "kubepods-burstable-podu_1.slice"),
    (#"{"limits":{"cpu":"1","memory":"1Gi"}}"#, "kubepods-podu_1.slice"),
  ])
  func whereSystemdHasTheGroupsAPodIsInASlice(_ resources: String, _ slice: String) throws {
    var facts = NodeFacts(nodeName: "n1")
    facts.usesSlices = true
    #expect(PodTranslation(pod: try Self.pod(resources), facts: facts).sandbox(attempt: 0).linux.cgroupParent == slice)
  }

  @Test func whatAPodAsksForIsItsWeightAndWhatItMayHaveItsLimit() throws {
    let resources = #"{"requests":{"cpu":"500m"},"limits":{"cpu":"2","memory":"64Mi"}}"#
    let translation = PodTranslation(pod: try Self.pod(resources), facts: NodeFacts(nodeName: "n1"))
    let writes = try PodCgroups.limits(translation.resources).writes()
    #expect(
      writes.map { "\($0.file)=\($0.value)" } == [
        "cpu.weight=59", "cpu.max=200000 100000", "memory.max=67108864",
      ])
    let nothing = PodTranslation(pod: try Self.pod("{}"), facts: NodeFacts(nodeName: "n1"))
    #expect(try PodCgroups.limits(nothing.resources).writes().map(\.value) == ["1", "max 100000", "\(UInt64.max)"])
  }

  @Test func aHostWithoutControllersIsLeftAsItIs() throws {
    let scratch = try TestDirectory()
    // As the kernel shows a group of a hierarchy without controllers.
    let groups = PodCgroups(CgroupHierarchy(mountPoint: scratch.path, controllers: []))
    try Files.makeDirectories("\(scratch.path)/kubepods/podu-1")
    let translation = PodTranslation(
      pod: try Self.pod(#"{"limits":{"cpu":"1","memory":"1Gi"}}"#), facts: NodeFacts(nodeName: "n1"))
    #expect(groups.set("/kubepods/podu-1", translation.resources).isEmpty)
    #expect(groups.set("/kubepods/podu-2", translation.resources).isEmpty)
    #expect(!Files.exists("\(scratch.path)/kubepods/podu-1/cpu.weight"))
    groups.remove("/kubepods/podu-1")
    #expect(!Files.exists("\(scratch.path)/kubepods/podu-1"))
    try scratch.remove()
  }
}
