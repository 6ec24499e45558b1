import Testing

@testable import APIServer

@Suite struct NegotiationTests {
  @Test func theFirstRangeThatCanBeServedIsTaken() throws {
    let kubectl =
      "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
    #expect(try Negotiated(accept: kubectl).form == .table(version: "v1"))
    #expect(try Negotiated(accept: nil) == Negotiated())
    #expect(try Negotiated(accept: "*/*") == Negotiated())
    #expect(try Negotiated(accept: "application/json, */*") == Negotiated())
    #expect(try Negotiated(accept: "application/vnd.kubernetes.protobuf,application/json").encoding == .protobuf)
    #expect(try Negotiated(accept: "application/yaml").encoding == .yaml)
    #expect(try Negotiated(accept: "text/html, application/json").encoding == .json)
    #expect(try Negotiated(accept: "application/json;q=0.5,application/yaml;q=0.9").encoding == .yaml)
    #expect(try Negotiated(accept: "application/yaml;q=0,application/json").encoding == .json)
    #expect(
      try Negotiated(accept: "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").form
        == .metadata(version: "v1"))
    #expect(
      try Negotiated(accept: "application/vnd.kubernetes.protobuf;stream=watch", isWatch: true).encoding == .protobuf)
  }

  @Test(arguments: [
    "text/html", "application/json;as=Table;v=v2;g=meta.k8s.io", "application/json;as=Other;v=v1;g=meta.k8s.io",
    "application/json;as=Table;v=v1;g=other", "application/json;stream=watch", "application/json;q=0",
  ])
  func whatCannotBeServedIsNotAcceptable(_ accept: String) {
    let error = #expect(throws: APIStatus.self) { _ = try Negotiated(accept: accept) }
    #expect(error?.code == 406)
    #expect(error?.message.hasPrefix("only the following media types are accepted: application/json") == true)
  }
}
