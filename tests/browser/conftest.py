def pytest_addoption(parser):
    parser.addoption("--write-pictures", action="store_true", help="take the templates' pictures anew")
