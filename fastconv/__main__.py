"""`python -m fastconv train | eval | predict | summary | bench | export | warmup | explain | info`"""

import sys

if __name__ == "__main__":
    from fastconv.cli import main

    sys.exit(main())
