import JSON
import Testing
import TestSupport

@testable import CNI

@Suite struct CNIPureTests {
  static let chain = """
    {"cniVersion": "1.0.0", "name": "podnet", "plugins": [
      {"type": "bridge", "bridge": "cni0", "ipam": {"type": "host-local"}, "capabilities": {"ips": true}},
      {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
      {"type": "bandwidth", "capabilities": {"bandwidth": true, "dns": false, "aliases": true}}
    ]}
    """

  static var attachment: CNIAttachment {
    var attachment = CNIAttachment()
    (attachment.podNamespace, attachment.podName, attachment.podUID) = ("shop", "web-0", "u1")
    attachment.ports = [.init(transport: "tcp", hostPort: 8080, containerPort: 80, hostAddress: "127.0.0.1")]
    attachment.annotations = [CNIAttachment.ingressAnnotation: "10M", CNIAttachment.egressAnnotation: "1Gi"]
    attachment.nameServers = ["10.96.0.10"]
    attachment.searchDomains = ["shop.svc.cluster.local"]
    attachment.addresses = ["10.1.0.9/24"]
    attachment.aliases = ["web-0"]
    return attachment
  }

  @Test func `A list is asked plugin by plugin, each with what it declares and the result before it`() throws {
    let configuration = try CNIConfiguration.parse(Array(Self.chain.utf8), file: "10-podnet.conflist")
    let context = CNIRequest.Context(
      sandboxID: "0af1", namespacePath: "/run/martlet/cni/0af1", arguments: Self.attachment.arguments("0af1"),
      runtimeConfig: try Self.attachment.runtimeConfig(), pluginDirectories: ["/opt/cni/bin", "/usr/lib/cni"],
      searchPath: "/usr/bin")
    let result: JSONValue = ["cniVersion": "1.0.0", "ips": [["address": "10.1.0.9/24"]]]
    var text = ""
    for (command, previous) in [(CNICommand.add, nil), (.delete, result), (.check, result)] {
      for plugin in configuration.plugins {
        let request = CNIRequest(command, configuration, plugin: plugin, context, previous: previous)
        text += "== \(plugin.type)\n" + request.environment.joined(separator: "\n") + "\n"
        text += JSONValue.object(request.input).encodedString(pretty: true) + "\n"
      }
    }
    var collect = CNIRequest(
      .collect, configuration, configuration.plugins[0], directories: ["/opt/cni/bin"], searchPath: "/usr/bin")
    collect.keep(["0af1"])
    text += "== GC\n" + collect.environment.joined(separator: "\n") + "\n"
    text += JSONValue.object(collect.input).encodedString(pretty: true) + "\n"
    try Golden.check(text, named: "requests.txt")
  }

  @Test func `A file with one plugin is a list of one`() throws {
    let text = #"{"cniVersion": "0.3.1", "name": "one", "type": "ptp", "capabilities": {"dns": true}}"#
    let configuration = try CNIConfiguration.parse(Array(text.utf8), file: "one.conf")
    #expect(configuration.plugins.map(\.type) == ["ptp"] && configuration.version == .v031)
    #expect(configuration.plugins[0].capabilities == ["dns"])
    #expect(throws: CNIError.self) { try CNIConfiguration.parse(Array(text.utf8), file: "one.conflist") }
  }

  @Test func `Of several versions the newest that we speak is used`() throws {
    let text =
      #"{"cniVersion": "1.0.0", "cniVersions": ["0.4.0", "1.1.0", "9.0.0"], "name": "a", "plugins": [{"type": "x"}]}"#
    #expect(try CNIConfiguration.parse(Array(text.utf8), file: "a.conflist").version == .v110)
  }

  @Test(arguments: [
    (#"{"#, "JSON"), (#"[]"#, "no object"), (#"{"cniVersion": "1.0.0", "plugins": []}"#, "name:"),
    (#"{"cniVersion": "1.0.0", "name": "../x", "plugins": [{"type": "a"}]}"#, "name:"),
    (#"{"cniVersion": "1.0.0", "name": "a", "plugins": []}"#, "plugins:"),
    (#"{"cniVersion": "1.0.0", "name": "a"}"#, "plugins:"),
    (#"{"cniVersion": "1.0.0", "name": "a", "plugins": [{"type": "../sh"}]}"#, "plugins[0].type"),
    (#"{"cniVersion": "1.0.0", "name": "a", "plugins": [{"type": "a"}, 1]}"#, "plugins[1]."),
    (#"{"cniVersion": "1.0.0", "name": "a", "plugins": [{"type": "a", "capabilities": {"x": 1}}]}"#, "capabilities.x"),
    (#"{"cniVersion": "0.2.0", "name": "a", "plugins": [{"type": "a"}]}"#, "0.2.0"),
    (#"{"name": "a", "plugins": [{"type": "a"}]}"#, "missing"),
    (#"{"cniVersion": "1.0.0", "disableCheck": 1, "name": "a", "plugins": [{"type": "a"}]}"#, "disableCheck"),
  ])
  func `A wrong configuration is refused with the field`(text: String, field: String) {
    let error = #expect(throws: CNIError.self) { try CNIConfiguration.parse(Array(text.utf8), file: "a.conflist") }
    #expect(error?.description.contains(field) == true, "\(error?.description ?? "")")
    #expect(error?.code == .configuration)
  }

  @Test func `A result gives the pod's addresses and the node's end, whatever its version`() throws {
    let text = """
      {"cniVersion": "0.4.0", "interfaces": [{"name": "cni0"}, {"name": "veth1"}, {"name": "eth0", "sandbox": "/n"},
       {"name": "bwp1"}], "ips": [{"version": "4", "address": "192.0.2.1/24", "interface": 0},
               {"version": "6", "address": "fd00::9/64", "interface": 2},
               {"version": "4", "address": "10.1.0.9/24", "interface": 2}]}
      """
    let result = try CNIResult.parse(Array(text.utf8), version: .v100, stage: "ADD")
    #expect(result.ipv4 == "10.1.0.9" && result.ipv6 == "fd00::9" && result.hostLink == "veth1")
    #expect(result.document["cniVersion"] == "1.0.0" && result.document["ips"]?[1]?["version"] == nil)
    let old = try CNIResult(result.document, version: .v031, stage: "ADD")
    #expect(old.document["ips"]?[1]?["version"] == "6")
  }

  @Test(arguments: [
    "", "  \n", "[]", "{\"ips\": 1}", "{\"ips\": [{\"address\": \"10.0.0.1\"}]}", "{\"interfaces\": [{}]}",
    "{\"ips\": [{\"address\": \"10.0.0.1/8\", \"interface\": 0}]}", "{\"cniVersion\": \"7.0.0\"}",
    "{\"ips\": [{\"address\": \"10.0.0.1/8\", \"interface\": -9223372036854775808}]}",
  ])
  func `What is no result is refused`(text: String) {
    #expect(throws: CNIError.self) { try CNIResult.parse(Array(text.utf8), version: .v100, stage: "ADD") }
  }

  @Test(arguments: [
    ("1000", 1000), ("10M", 10_000_000), ("1.5k", 1500), ("1Gi", 1_073_741_824), ("x", nil), ("1Q", nil), ("", nil),
    ("1.2.3", nil),
  ])
  func `Bandwidths are quantities`(text: String, value: Int64?) { #expect(CNIAttachment.quantity(text) == value) }

  @Test func `No name of a pod adds an argument of its own`() {
    var attachment = CNIAttachment()
    attachment.podName = "a;K8S_POD_NAMESPACE=kube-system"
    attachment.podNamespace = "n"
    #expect(!attachment.arguments("id").contains("kube-system"))
  }

  @Test func `A record reads back, and a damaged one says so`() throws {
    let configuration = try CNIConfiguration.parse(Array(Self.chain.utf8), file: "a.conflist")
    var record = CNIRecord(
      sandboxID: "s", namespacePath: "/n", configuration: configuration, arguments: "A=1",
      runtimeConfig: try Self.attachment.runtimeConfig(), result: nil)
    #expect(try CNIRecord.parse(record.encoded(), file: "s.json") == record)
    record.result = try CNIResult(
      ["interfaces": [["name": "eth0", "sandbox": "/n"]], "ips": [["address": "10.0.0.2/8"]]], version: .v100,
      stage: "ADD")
    #expect(try CNIRecord.parse(record.encoded(), file: "s.json") == record)
    let bytes = record.encoded()
    for length in stride(from: 0, to: bytes.count - 2, by: 7) {
      #expect(throws: CNIError.self) { try CNIRecord.parse(Array(bytes.prefix(length)), file: "s.json") }
    }
  }
}
