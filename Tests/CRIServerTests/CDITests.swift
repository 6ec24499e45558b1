import CRIModel
import JSON
import OCISpec
import PodRuntime
import Testing

@testable import CRIServer

@Suite struct CDITests {
  private static let document = """
    {"cdiVersion": "0.6.0", "kind": "vendor.com/device",
     "containerEdits": {"env": ["VENDOR=1"], "mounts": [
       {"hostPath": "/usr/lib/vendor", "containerPath": "/usr/lib/vendor", "options": ["ro", "nosuid"]}]},
     "devices": [
       {"name": "zero", "containerEdits": {"env": ["DEVICE=zero"], "additionalGids": [0, 44], "deviceNodes": [
         {"path": "/dev/vendor0", "type": "c", "major": 240, "minor": 0, "permissions": "rw", "fileMode": 432}]}},
       {"name": "looked-up", "containerEdits": {"deviceNodes": [
         {"path": "/dev/vendor1", "hostPath": "/dev/real1"}]}}]}
    """

  private func registry(_ documents: [(text: String, priority: Int)]) throws -> CDIRegistry {
    var registry = CDIRegistry()
    for (number, document) in documents.enumerated() {
      registry.add(try JSONValue.parse(document.text), path: "/cdi/\(number)", priority: document.priority)
    }
    return registry
  }

  private func build(_ names: [String], _ documents: [(text: String, priority: Int)]) throws -> RuntimeSpec {
    var input = try ContainerSpecBuilderTests.input { config in
      config.cdiDevices = names.map { name in
        var device = CRICDIDevice()
        device.name = name
        return device
      }
    }
    input.cdi = try registry(documents).edits(of: names)
    input.devices["/dev/real1"] = [
      HostDevice(kind: .block, hostPath: "/dev/real1", major: 8, minor: 1, mode: 0o640, uid: 0, gid: 6)
    ]
    return try ContainerSpecBuilder.build(input).specification
  }

  @Test func aDeviceBringsItsNodeWithItsRuleAndItsGroup() throws {
    let spec = try build(["vendor.com/device=zero"], [(Self.document, 0)])
    let node = try #require(spec.linux.devices.first { $0.path == "/dev/vendor0" })
    #expect(node.major == 240 && node.minor == 0 && node.mode == 0o660 && node.kind == .character)
    #expect(
      spec.linux.deviceRules.last
        == RuntimeSpec.DeviceRule(allow: true, kind: .character, major: 240, minor: 0, access: "rw"))
    #expect(spec.process.user.additionalGroups.contains(44) && !spec.process.user.additionalGroups.contains(0))
  }

  @Test func theVendorsOwnEditsComeOnceWithAnyOfItsDevices() throws {
    let spec = try build(["vendor.com/device=zero", "vendor.com/device=looked-up"], [(Self.document, 0)])
    #expect(spec.process.environment.filter { $0 == "VENDOR=1" }.count == 1)
    #expect(spec.process.environment.contains("DEVICE=zero"))
    let mounts = spec.mounts.filter { $0.destination == "/usr/lib/vendor" }
    #expect(mounts.map(\.options) == [["rbind", "ro", "nosuid"]])
  }

  @Test func whatADocumentLeavesOutIsLookedUpOnTheNode() throws {
    let spec = try build(["vendor.com/device=looked-up"], [(Self.document, 0)])
    let node = try #require(spec.linux.devices.first { $0.path == "/dev/vendor1" })
    #expect(node.kind == .block && node.major == 8 && node.minor == 1 && node.mode == 0o640 && node.gid == 6)
  }

  @Test func aLaterDirectoryWinsAndTwoDocumentsOfOneAreRefused() throws {
    let other = Self.document.replacing("\"major\": 240", with: "\"major\": 241")
    let spec = try build(["vendor.com/device=zero"], [(Self.document, 0), (other, 1)])
    #expect(spec.linux.devices.first { $0.path == "/dev/vendor0" }?.major == 241)
    #expect(throws: RequestRefusal.self) {
      try build(["vendor.com/device=zero"], [(Self.document, 0), (other, 0)])
    }
  }

  @Test(
    arguments: [
      ("\"cdiVersion\": \"0.6.0\"", "\"cdiVersion\": \"2.0.0\"", "version 2.0.0"),
      ("\"path\": \"/dev/vendor0\"", "\"path\": \"/dev/../etc/shadow\"", "absolute and without .."),
      ("\"env\": [\"DEVICE=zero\"]", "\"env\": [\"DEVICE\"]", "NAME=VALUE"),
      ("\"env\": [\"DEVICE=zero\"]", "\"hooks\": [{\"hookName\": \"createContainer\"}]", "hooks"),
      ("\"permissions\": \"rw\"", "\"permissions\": \"rx\"", "made of r, w and m"),
      ("\"major\": 240", "\"major\": -1", "32 bits"), ("vendor.com/device", "vendor", "vendor/class"),
      ("\"options\"", "\"type\": \"ext4\", \"options\"", "bind and tmpfs"),
    ])
  func aDocumentThatCannotBeUsedSaysWhyWhereItsDeviceIsAskedFor(text: String, wrong: String, why: String) throws {
    let registry = try registry([(Self.document.replacing(text, with: wrong), 0)])
    #expect(registry.problems.first?.description.contains(why) == true)
    let refusal = #expect(throws: RequestRefusal.self) { try registry.edits(of: ["vendor.com/device=zero"]) }
    #expect(refusal?.field == "CDI_devices[0].name" && refusal?.problem.contains(why) == true)
  }
}
