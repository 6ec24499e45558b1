import JSON
import KubeClient
import KubeModel
import Testing

@testable import Controllers

private func service(
  _ name: String, families: [String] = ["IPv4"], has: [String] = [], spec: String = "", annotations: String = "{}"
) throws -> Service {
  let held = has.map { #"{"ip":"\#($0)"}"# }.joined(separator: ",")
  let names = families.map { "\"\($0)\"" }.joined(separator: ",")
  return try Service(
    lenient: JSONValue.parse(
      #"{"metadata":{"name":"\#(name)","namespace":"default","annotations":\#(annotations)},"spec":{"type":"LoadBalancer",\#(spec)"ipFamilies":[\#(names)]},"status":{"loadBalancer":{"ingress":[\#(held)]}}}"#
    ))
}

@Suite struct LoadBalancerPoolTests {
  @Test(arguments: ["192.0.2", "192.0.2.9-192.0.2.1", "192.0.2.1-fd00::1", "192.0.2.1/24", ""])
  func aPoolThatIsNoRangeIsRefused(_ text: String) {
    #expect(throws: LoadBalancerPool.Refusal.self) { try LoadBalancerPool([text]) }
  }

  @Test func addressesAreGivenOnceAndComeBack() throws {
    var pool = try LoadBalancerPool(["192.0.2.1-192.0.2.2", "192.0.2.8/32"])
    #expect(try pool.assign(service("a")) == ["192.0.2.1"])
    #expect(try pool.assign(service("a")) == ["192.0.2.1"], "it has one")
    #expect(try pool.assign(service("b")) == ["192.0.2.2"])
    #expect(try pool.assign(service("c")) == ["192.0.2.8"])
    #expect(throws: LoadBalancerPool.Refusal(description: "the pool of load balancers has no free address of IPv4")) {
      try pool.assign(service("d"))
    }
    #expect(pool.release(ObjectKey(try service("a"))))
    #expect(!pool.release(ObjectKey(try service("a"))))
    #expect(try pool.assign(service("d")) == ["192.0.2.1"])
  }

  @Test func aRestartChangesNothing() throws {
    var pool = try LoadBalancerPool(["192.0.2.0/29"])
    for known in [try service("b", has: ["192.0.2.5"]), try service("c", has: ["192.0.2.5"])] { pool.adopt(known) }
    #expect(try pool.assign(service("b", has: ["192.0.2.5"])) == ["192.0.2.5"])
    #expect(try pool.assign(service("c", has: ["192.0.2.5"])) == ["192.0.2.0"], "another has it")
    #expect(try pool.assign(service("e", has: ["198.51.100.1"])) == ["192.0.2.1"], "not ours any more")
  }

  @Test func askedForAddressesAreGivenOrRefused() throws {
    var pool = try LoadBalancerPool(["192.0.2.0/29", "fd00::10-fd00::1f"])
    let both = try service(
      "a", families: ["IPv4", "IPv6"], annotations: #"{"martlet.dev/load-balancer-ips":"192.0.2.7, fd00::11"}"#)
    #expect(try pool.assign(both) == ["192.0.2.7", "fd00::11"])
    #expect(try pool.assign(service("b", spec: #""loadBalancerIP":"192.0.2.3","#)) == ["192.0.2.3"])
    for (spec, why) in [
      (#""loadBalancerIP":"192.0.2.3","#, "192.0.2.3 is taken by service default/b"),
      (#""loadBalancerIP":"198.51.100.1","#, "198.51.100.1 is not in the pool of load balancers"),
      (#""loadBalancerIP":"x","#, #""x" is no address"#),
    ] {
      #expect(throws: LoadBalancerPool.Refusal(description: why)) { try pool.assign(service("c", spec: spec)) }
    }
  }

  @Test func bothFamiliesWhereBothAreRequired() throws {
    var pool = try LoadBalancerPool(["192.0.2.0/29"])
    let families = ["IPv4", "IPv6"]
    #expect(
      try pool.assign(service("a", families: families, spec: #""ipFamilyPolicy":"PreferDualStack","#)) == ["192.0.2.0"])
    #expect(throws: LoadBalancerPool.Refusal.self) {
      try pool.assign(service("b", families: families, spec: #""ipFamilyPolicy":"RequireDualStack","#))
    }
    #expect(try pool.assign(service("c")) == ["192.0.2.1"], "a refusal takes nothing")
  }

  @Test func servicesOfAnotherClassAreLeftToOthers() throws {
    #expect(!LoadBalancerPool.serves(try service("a", spec: #""loadBalancerClass":"example.com/other","#)))
    #expect(LoadBalancerPool.serves(try service("a", spec: #""loadBalancerClass":"martlet.dev/pool","#)))
    var plain = try service("a")
    plain.spec.type = "NodePort"
    #expect(!LoadBalancerPool.serves(plain))
  }
}
