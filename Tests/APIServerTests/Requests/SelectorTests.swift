import Testing

@testable import APIServer

@Suite struct SelectorTests {
  static let labels = ["app": "web", "tier": "front", "empty": "", "size": "5"]

  @Test(arguments: [
    ("", true), ("app=web", true), ("app==web", true), ("app=db", false), ("app!=db", true), ("app!=web", false),
    ("none!=web", true), ("app", true), ("none", false), ("!none", true), ("!app", false), (" app = web ", true),
    ("app in (web,db)", true), ("app in (db)", false), ("app notin (db)", true), ("app notin (web, db)", false),
    ("none notin (web)", true), ("app=web,tier=front", true), ("app=web,tier=back", false), ("empty=", true),
    ("empty in (,x)", true), ("app=", false), ("size>4", true), ("size>5", false), ("size<6", true), ("app>1", false),
    ("app in (web),!none,tier!=back", true), ("empty in ()", true), ("kubernetes.io/x notin (a)", true),
  ])
  func aLabelSelectorMatchesAsKubernetesSays(_ text: String, _ matches: Bool) throws {
    #expect(try LabelQuery(text).matches(Self.labels) == matches)
  }

  @Test(arguments: [
    "app=web,", "app in web", "app in (web", "=web", "app=web tier=x", "(a)", "a,,b", "app>x", "!", "-a=b", "a=b@c",
    "app in (web))", "app notin", "x y z",
  ])
  func aLabelSelectorThatMakesNoSenseIsABadRequest(_ text: String) {
    let error = #expect(throws: APIStatus.self) { _ = try LabelQuery(text) }
    #expect(error?.code == 400)
    #expect(error?.message.hasPrefix("unable to parse requirement: ") == true)
  }

  static let fields = ["metadata.name": "web", "status.phase": "Running", "spec.nodeName": ""]

  @Test(arguments: [
    ("metadata.name=web", true), ("metadata.name==web", true), ("metadata.name!=web", false),
    ("status.phase!=Succeeded,status.phase!=Failed", true), ("spec.nodeName=", true), ("spec.nodeName!=", false),
    ("metadata.name=web,status.phase=Pending", false), ("", true), (#"metadata.name=a\,b"#, false),
  ])
  func aFieldSelectorMatchesAsKubernetesSays(_ text: String, _ matches: Bool) throws {
    #expect(try FieldSelector(text).matches(Self.fields) == matches)
  }

  @Test(arguments: ["metadata.name", #"a=b\x"#, "a=b=c", #"a=b\"#])
  func aFieldSelectorThatMakesNoSenseIsABadRequest(_ text: String) {
    let error = #expect(throws: APIStatus.self) { _ = try FieldSelector(text) }
    #expect(error?.code == 400)
  }

  @Test func escapesInFieldSelectorsAreResolved() throws {
    #expect(try FieldSelector(#"a=b\,c\=d\\e"#).terms == [.init(field: "a", value: #"b,c=d\e"#, isEqual: true)])
  }
}
