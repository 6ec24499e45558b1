import KubeModel
import Testing

@testable import Controllers

@Suite struct EndpointMirrorTests {
  private func endpoints(_ subsets: [([String], [String], [Int32])]) -> Endpoints {
    var endpoints = Endpoints()
    (endpoints.metadata.name, endpoints.metadata.namespace, endpoints.metadata.uid) = ("db", "default", "uid-db")
    endpoints.metadata.labels = ["team": "x"]
    endpoints.subsets = subsets.map { ready, others, ports in
      func address(_ text: String) -> EndpointAddress {
        var address = EndpointAddress()
        address.ip = text
        return address
      }
      var subset = EndpointSubset()
      (subset.addresses, subset.notReadyAddresses) = (ready.map(address), others.map(address))
      subset.ports = ports.map { number in
        var port = EndpointsPort()
        (port.name, port.port, port.protocol) = ("p\(number)", number, "TCP")
        return port
      }
      return subset
    }
    return endpoints
  }

  private func service(_ selector: [String: String] = [:]) -> Service {
    var service = Service()
    (service.metadata.name, service.metadata.namespace) = ("db", "default")
    service.spec.selector = selector
    return service
  }

  private func text(_ slice: EndpointSlice) -> String {
    let places = slice.endpoints.map { "\($0.addresses[0])\($0.conditions.ready == true ? "" : "!")" }
    return "\(slice.addressType) \(slice.ports.map { "\($0.port ?? 0)" }) \(places)"
  }

  @Test func eachFamilyAndEachSetOfPortsHasASlice() {
    let plan = EndpointMirrorPlan(
      for: endpoints([
        (["192.0.2.1", "2001:db8::1"], ["192.0.2.2"], [80]), (["192.0.2.3"], [], [81]), (["192.0.2.4"], [], [80]),
      ]),
      service: service(), slices: [])
    #expect(
      plan.creations.map(text).sorted() == [
        "IPv4 [\"80\"] [\"192.0.2.1\", \"192.0.2.2!\", \"192.0.2.4\"]", "IPv4 [\"81\"] [\"192.0.2.3\"]",
        "IPv6 [\"80\"] [\"2001:db8::1\"]",
      ])
    let slice = plan.creations[0]
    #expect(
      slice.metadata.labels == [
        "team": "x", "kubernetes.io/service-name": "db",
        "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
      ])
    #expect(slice.metadata.ownerReferences.map(\.kind) == ["Endpoints"])
  }

  @Test func whatIsMirroredFollowsAndGoes() throws {
    let first = EndpointMirrorPlan(for: endpoints([(["192.0.2.1"], [], [80])]), service: service(), slices: [])
    var slice = try #require(first.creations.first)
    slice.metadata.name = "db-1"
    let same = EndpointMirrorPlan(for: endpoints([(["192.0.2.1"], [], [80])]), service: service(), slices: [slice])
    #expect(same.creations.isEmpty && same.updates.isEmpty && same.deletions.isEmpty)
    let more = EndpointMirrorPlan(for: endpoints([(["192.0.2.7"], [], [80])]), service: service(), slices: [slice])
    #expect(more.updates.map(text) == ["IPv4 [\"80\"] [\"192.0.2.7\"]"] && more.updates[0].metadata.name == "db-1")
    #expect(EndpointMirrorPlan(for: nil, service: service(), slices: [slice]).deletions.count == 1)
    #expect(
      EndpointMirrorPlan(for: endpoints([]), service: service(["app": "db"]), slices: [slice]).deletions.count == 1)
  }

  @Test func someAreNotMirrored() {
    var skipped = endpoints([(["192.0.2.1"], [], [80])])
    skipped.metadata.labels["endpointslice.kubernetes.io/skip-mirror"] = "true"
    #expect(!EndpointMirrorPlan.mirrors(skipped, service()))
    #expect(!EndpointMirrorPlan.mirrors(endpoints([]), service(["a": "b"])))
    #expect(!EndpointMirrorPlan.mirrors(endpoints([]), nil))
    #expect(EndpointMirrorPlan.mirrors(endpoints([]), service()))
    let many = endpoints([((0..<1200).map { "192.0.\($0 / 250).\($0 % 250 + 1)" } + ["nonsense"], [], [80])])
    let plan = EndpointMirrorPlan(for: many, service: service(), slices: [])
    #expect(plan.creations.first?.endpoints.count == 1000 && plan.leftOut == 201)
  }
}
